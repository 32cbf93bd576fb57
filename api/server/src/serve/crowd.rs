//! Connections by client address: one client must not use all files that the process may open.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use jobs::places::{Place, Places};

/// The maximum number of connections per client.
#[derive(Debug, Clone)]
pub struct Crowd {
    most: usize,
    exempt: Vec<IpNet>,
    places: Places<IpAddr>,
}

/// A connection's place; released with the connection.
pub(super) type Held = Option<Place<IpAddr>>;

/// A client has the maximum number of connections.
pub(super) struct TooMany(pub IpAddr);

impl Crowd {
    /// The maximum number of connections for each address, and for each /64 of IPv6; 0 for no limit. Proxies, which
    /// connect for many clients, are exempt.
    #[must_use]
    pub fn new(most: usize, exempt: Vec<IpNet>) -> Self {
        Self { most, exempt, places: Places::of(most) }
    }

    /// A place for a connection from that address, at once or not at all.
    pub(super) fn enter(&self, peer: SocketAddr) -> Result<Held, TooMany> {
        let address = peer.ip().to_canonical();
        if self.most == 0 || self.exempt.iter().any(|network| network.contains(&address)) {
            return Ok(None);
        }
        let network = match address {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        };
        self.places.take_now(network).map(Some).map_err(|_| TooMany(network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(crowd: &Crowd, peer: &str) -> Result<Held, TooMany> {
        crowd.enter(SocketAddr::new(peer.parse().unwrap(), 1))
    }

    #[test]
    fn a_client_with_as_many_connections_as_it_may_gets_no_other_until_one_ends() {
        let crowd = Crowd::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let first = enter(&crowd, "192.0.2.1");
        let _second = enter(&crowd, "::ffff:192.0.2.1");
        assert!(enter(&crowd, "192.0.2.1").is_err());
        assert!(enter(&crowd, "192.0.2.2").is_ok());
        drop(first);
        assert!(enter(&crowd, "192.0.2.1").is_ok());
        let _many: Vec<_> = (0..9).map(|_| enter(&crowd, "10.1.1.1").ok().unwrap()).collect();
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Crowd::new(1, Vec::new());
        let _first = enter(&crowd, "2001:db8::1");
        assert!(enter(&crowd, "2001:db8::2").is_err());
        assert!(enter(&crowd, "2001:db8:0:1::2").is_ok());
    }
}
