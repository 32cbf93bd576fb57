//! The client's address: the peer's, or the one that a trusted proxy names.

use std::{net::IpAddr, sync::Once};

use ipnet::IpNet;
use poem::{Addr, Request};

/// Address that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    pub(super) fn of(request: &Request, trusted: &[IpNet]) -> Option<Self> {
        let Addr::SocketAddr(peer) = request.remote_addr().0 else {
            return None;
        };
        let peer = peer.ip().to_canonical();
        let forwarded = request.headers().get_all("X-Forwarded-For").iter().filter_map(|v| v.to_str().ok());
        if request.headers().contains_key("X-Forwarded-For") && !is_trusted(peer, trusted) {
            warn_of_untrusted_proxy(peer);
        }
        Some(Self(client(peer, forwarded, trusted)))
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Warns once about an untrusted proxy: behind it, all clients would share one address and its limits.
fn warn_of_untrusted_proxy(peer: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            %peer,
            "X-Forwarded-For from an address that TRUSTED_PROXIES doesn't list is ignored: if this is your proxy, \
             its clients all count as one address; list it"
        );
    });
}

/// Walks from the peer outwards while each address is a trusted proxy; the first that
/// isn't is the client. Addresses that a client writes into the header itself lie beyond that.
fn client<'a>(peer: IpAddr, forwarded: impl Iterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let hops: Vec<_> = forwarded.flat_map(|header| header.split(',')).map(str::trim).collect();
    let mut address = peer;
    for hop in hops.iter().rev() {
        if !is_trusted(address, trusted) {
            break;
        }
        let Ok(next) = hop.parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client(peer.parse().unwrap(), forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn a_stranger_who_claims_to_be_a_proxy_is_seen_as_they_are() {
        assert_eq!(seen("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn behind_trusted_proxies_the_first_untrusted_hop_is_the_client() {
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["nonsense"]), "10.0.0.1");
    }
}
