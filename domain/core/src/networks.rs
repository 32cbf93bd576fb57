//! Allowlists of client addresses: networks in CIDR notation. A single address is the network of it alone.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::FieldErrors;

/// Maximum number of networks in one list.
const MOST: usize = 100;

/// A list in its stored form: each network by its first address, without duplicates. Reports errors as `<field>` or
/// `<field>.<place>`.
pub fn checked(list: &[String], field: &str, errors: &mut FieldErrors) -> Vec<String> {
    if list.len() > MOST {
        errors.insert(field.to_owned(), vec![format!("must have at most {MOST} networks")]);
        return Vec::new();
    }
    let mut networks = Vec::with_capacity(list.len());
    for (place, text) in list.iter().enumerate() {
        match network(text) {
            Some(network) if networks.contains(&network) => {}
            Some(network) => networks.push(network),
            None => {
                let reason = "must be an IP address, or a network such as 192.0.2.0/24";
                errors.insert(format!("{field}.{place}"), vec![reason.to_owned()]);
            }
        }
    }
    networks
}

/// The network of a client's address. Of an IPv6 client it is the /64: it has more addresses than can be counted
/// separately.
pub fn of_client(ip: &str) -> String {
    match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        _ => ip.to_owned(),
    }
}

fn network(text: &str) -> Option<String> {
    let text = text.trim();
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().into(),
        Err(_) => text.parse().ok()?,
    };
    Some(network.trunc().to_string())
}

/// Whether a list admits an address. An empty one admits all; any other does not admit an unknown address.
pub fn let_in(list: &[String], ip: Option<IpAddr>) -> bool {
    let holds = |ip: IpAddr| {
        let of = |network: &String| network.parse::<IpNet>().is_ok_and(|network| network.contains(&ip));
        list.iter().any(of)
    };
    list.is_empty() || ip.is_some_and(|ip| holds(ip.to_canonical()))
}

/// Whether one list admits an address that another does not.
pub fn is_wider(list: &[String], than: &[String]) -> bool {
    let parsed = |list: &[String]| list.iter().filter_map(|text| text.parse().ok()).collect::<Vec<IpNet>>();
    let within = parsed(than);
    let is_new = |network: &IpNet| !within.iter().any(|old| old.contains(network));
    !than.is_empty() && (list.is_empty() || parsed(list).iter().any(is_new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(list: &[&str]) -> Result<Vec<String>, FieldErrors> {
        let list: Vec<_> = list.iter().map(|&text| text.to_owned()).collect();
        let mut errors = FieldErrors::new();
        let networks = checked(&list, "ip_allowlist", &mut errors);
        if errors.is_empty() { Ok(networks) } else { Err(errors) }
    }

    #[test]
    fn an_address_is_a_network_of_one_and_a_network_is_known_by_its_first() {
        let list = ["192.0.2.7", "10.1.2.3/8", " 2001:db8::1 ", "::ffff:192.0.2.7", "10.0.0.0/8"];
        assert_eq!(
            kept(&list),
            Ok(["192.0.2.7/32", "10.0.0.0/8", "2001:db8::1/128"].map(str::to_owned).into())
        );
    }

    #[test]
    fn what_is_no_network_is_named_by_its_place() {
        let errors = kept(&["10.0.0.0/8", "10.0.0.0/33", "example.com", ""]).unwrap_err();
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["ip_allowlist.1", "ip_allowlist.2", "ip_allowlist.3"]);
        assert!(kept(&["10.0.0.1"; 101]).unwrap_err().contains_key("ip_allowlist"));
    }
}
