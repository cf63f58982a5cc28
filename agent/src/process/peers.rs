//! Who is behind an address of a cluster: its Services, and the pods of this host. Written by a task, read by the thread that
//! captures.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// Who is asked at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `service.name` of a pod's processes, or the name of a Service.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// Peers by address.
#[derive(Debug, Default)]
pub struct Peers(RwLock<HashMap<IpAddr, Arc<Peer>>>);

impl Peers {
    /// Who is at an address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<Arc<Peer>> {
        let peers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&address.to_canonical()).map(Arc::clone)
    }

    /// Somebody has these addresses.
    pub fn put(&self, peer: &Arc<Peer>, addresses: &[IpAddr]) {
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            peers.insert(*address, Arc::clone(peer));
        }
    }

    /// Nobody has these addresses, as far as `who` was there: they may be another's by now.
    pub fn remove(&self, who: &Arc<Peer>, addresses: &[IpAddr]) {
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if peers.get(address).is_some_and(|peer| Arc::ptr_eq(peer, who)) {
                peers.remove(address);
            }
        }
    }

    /// How many addresses are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_has_gone_to_another_stays_the_others() {
        let peers = Peers::default();
        let peer = |name: &str| {
            Arc::new(Peer {
                name: name.into(),
                namespace: "shop".into(),
            })
        };
        let addresses: Vec<IpAddr> = ["10.0.0.1", "fd00::1"].map(|it| it.parse().unwrap()).into();
        let cart = peer("cart");
        peers.put(&cart, &addresses);
        assert_eq!(
            peers.at("::ffff:10.0.0.1".parse().unwrap()),
            Some(Arc::clone(&cart))
        );
        peers.remove(&cart, &addresses[..1]);
        assert_eq!(peers.at(addresses[0]), None);
        // Called the same, as pods of one Deployment are.
        let other = peer("cart");
        peers.put(&other, &addresses[1..]);
        peers.remove(&cart, &addresses);
        assert_eq!(peers.at(addresses[1]), Some(Arc::clone(&other)));
        peers.remove(&other, &addresses);
        assert!(peers.is_empty());
    }
}
