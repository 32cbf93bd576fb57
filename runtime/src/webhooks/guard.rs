//! Allowed targets of webhooks: no private addresses. A name is resolved once, its addresses are checked, and
//! the connection is made to exactly those, so that the name can't lead elsewhere in between.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use url::{Host, Url};

/// Maximum length of a URL.
const LONGEST: usize = 2048;

/// Networks that may be called in addition to public addresses.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
}

/// The reason why an address is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `http` or `https`, or with a user in it, or too long.
    #[error("must be an http or https URL without credentials, of at most {LONGEST} characters")]
    Url,
    /// Its name has no address, or none that is public, at present. One answer for both: clients must not learn which
    /// names the installation's own resolver knows.
    #[error("has a name without a public address")]
    Nowhere,
    /// It leads to an address that is not public.
    #[error("leads to an address that is not public")]
    NotPublic,
}

impl Guard {
    /// Allows public addresses and those of the networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Refuses a URL that can't be called whatever the addresses of its name are.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn check(&self, url: &Url) -> Result<(), AddressError> {
        let plain = url.username().is_empty() && url.password().is_none() && url.as_str().len() <= LONGEST;
        if !plain || !["http", "https"].contains(&url.scheme()) {
            return Err(AddressError::Url);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(name))
                if is_this_host(name) && !self.lets_through(Ipv6Addr::LOCALHOST.into()) =>
            {
                Ipv4Addr::LOCALHOST.into()
            }
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(AddressError::Url),
        };
        if self.lets_through(address) { Ok(()) } else { Err(AddressError::NotPublic) }
    }

    /// The addresses of a URL that may be called; at least one.
    ///
    /// # Errors
    /// See [`AddressError`]; [`AddressError::Nowhere`] for a name without any of them at present.
    pub async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, AddressError> {
        self.check(url)?;
        let port = url.port_or_known_default().ok_or(AddressError::Url)?;
        match url.host() {
            Some(Host::Domain(name)) => self.open(tokio::net::lookup_host((name, port)).await),
            Some(Host::Ipv4(address)) => Ok(vec![(address, port).into()]),
            Some(Host::Ipv6(address)) => Ok(vec![(address, port).into()]),
            None => Err(AddressError::Url),
        }
    }

    /// Of the addresses of a name, if there are any, those that may be called.
    fn open(
        &self,
        found: io::Result<impl Iterator<Item = SocketAddr>>,
    ) -> Result<Vec<SocketAddr>, AddressError> {
        let found = found.map_err(|_| AddressError::Nowhere)?;
        let open: Vec<SocketAddr> = found.filter(|address| self.lets_through(address.ip())).collect();
        if open.is_empty() { Err(AddressError::Nowhere) } else { Ok(open) }
    }

    fn lets_through(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address))
            || match address {
                IpAddr::V4(address) => is_public(address),
                IpAddr::V6(address) => is_public_v6(address),
            }
    }
}

/// Whether a name means this host, whatever a resolver answers (RFC 6761, section 6.3).
fn is_this_host(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is public (IANA's special-purpose registry lists the others).
fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!((a, b, c), (0 | 10 | 127, _, _) | (100, 64..=127, _) | (169, 254, _))
        || matches!((a, b, c), (172, 16..=31, _) | (192, 168, _) | (192, 0, 0 | 2) | (192, 88, 99))
        || matches!((a, b, c), (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) | (224..=255, _, _));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        // An IPv4 address behind NAT64, or by 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => is_public(embedded(high, low)),
        // Teredo, benchmarks, documentation and similar.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<(), AddressError> {
        Guard::default().check(&url.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_house_are_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1:80/",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.31.0.1/",
            "http://192.168.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fc00::1]/",
            "http://[fe80::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:db8::1]/",
            "http://[ff02::1]/",
        ] {
            assert_eq!(check(url), Err(AddressError::NotPublic), "{url}");
        }
        for url in ["https://8.8.8.8/", "https://[2606:4700::1111]/", "https://example.com/hook?x=1"] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused() {
        for url in ["ftp://example.com/", "file:///etc/passwd", "http://user:pass@example.com/", "data:x"] {
            assert_eq!(check(url), Err(AddressError::Url), "{url}");
        }
        assert_eq!(check(&format!("http://example.com/{}", "x".repeat(2048))), Err(AddressError::Url));
    }

    #[test]
    fn a_network_that_the_operator_allows_is_let_through() {
        let guard = Guard::new(vec!["10.1.0.0/16".parse().unwrap()]);
        assert_eq!(guard.check(&"http://10.1.2.3/".parse().unwrap()), Ok(()));
        assert!(guard.check(&"http://10.2.0.1/".parse().unwrap()).is_err());
    }

    #[tokio::test]
    async fn the_name_of_this_host_is_its_address() {
        let url = "http://localhost:8080/".parse().unwrap();
        for name in ["localhost:8080", "LOCALHOST.", "a.localhost"] {
            assert_eq!(check(&format!("http://{name}/")), Err(AddressError::NotPublic), "{name}");
        }
        assert_eq!(Guard::default().addresses(&url).await, Err(AddressError::NotPublic));
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert!(guard.addresses(&url).await.unwrap().iter().all(|address| address.port() == 8080));
    }
    #[test]
    fn a_name_that_leads_into_the_house_is_answered_like_one_that_leads_nowhere() {
        let guard = Guard::default();
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let inside = Ok(vec![address("10.0.0.1:80"), address("[fd00::1]:80")].into_iter());
        let unknown = Err::<std::vec::IntoIter<_>, _>(io::Error::other("no such name"));
        assert_eq!(guard.open(inside), Err(AddressError::Nowhere));
        assert_eq!(guard.open(unknown), Err(AddressError::Nowhere));
        let both = Ok(vec![address("10.0.0.1:80"), address("8.8.8.8:80")].into_iter());
        assert_eq!(guard.open(both), Ok(vec![address("8.8.8.8:80")]), "never to the private one");
    }
}
