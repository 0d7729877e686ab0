use super::*;
use std::net::Ipv4Addr;

fn network(number: u8) -> Network {
    Network::of(Ipv4Addr::new(192, 0, number, 1).into())
}

struct World {
    admission: Admission,
    now: Instant,
}

impl World {
    fn new(connections_max: usize, anonymous_per_network_max: usize) -> Self {
        let now = Instant::now();
        let limits = AdmissionLimits { connections_max, anonymous_per_network_max };
        Self { admission: Admission::new(limits, now), now }
    }

    fn admit(&self, number: u8) -> Admitted {
        self.admission.admit(network(number), self.now)
    }

    fn open(&self, number: u8) -> u64 {
        match self.admit(number) {
            Admitted::Open { id, .. } => id,
            Admitted::Refused => panic!("refused"),
        }
    }

    fn enter(&self, id: u64, phase: Phase) {
        self.admission.enter(id, phase, self.now);
    }
}

#[test]
fn oldest_idle_connection_gives_way() {
    let world = World::new(8, 8);
    let ids: Vec<u64> = (0..6).map(|number| world.open(number)).collect();
    world.enter(ids[0], Phase::Busy);
    assert_eq!(world.admit(9), Admitted::Open { id: 6, evicted: Some(ids[1]) });
    world.enter(ids[0], Phase::Idle);
    assert_eq!(world.admit(9), Admitted::Open { id: 7, evicted: Some(ids[0]) });
    assert_eq!(world.admission.state().open.len(), 6);
}

#[test]
fn busy_and_authenticated_connections_do_not_give_way() {
    let world = World::new(8, 8);
    for number in 0..6 {
        let phase = if number == 0 { Phase::Authenticated } else { Phase::Busy };
        world.enter(world.open(number), phase);
    }
    assert_eq!(world.admit(9), Admitted::Refused);
    // The network of the first one has authenticated, and so may use the reserve.
    assert_eq!(world.admit(0), Admitted::Open { id: 6, evicted: None });
    assert_eq!(world.admit(0), Admitted::Open { id: 7, evicted: None });
    assert_eq!(world.admit(9), Admitted::Refused, "known networks do not give way to others");
    assert_eq!(world.admit(0), Admitted::Open { id: 8, evicted: Some(6) });
}

#[test]
fn anonymous_connections_of_one_network_are_bounded() {
    let world = World::new(100, 2);
    let (first, second) = (world.open(1), world.open(1));
    assert_eq!(world.admit(1), Admitted::Open { id: 2, evicted: Some(first) });
    world.enter(second, Phase::Busy);
    world.enter(2, Phase::Busy);
    assert_eq!(world.admit(1), Admitted::Refused);
    assert!(matches!(world.admit(2), Admitted::Open { evicted: None, .. }));
    // Authenticated connections are not counted.
    world.enter(second, Phase::Authenticated);
    assert!(matches!(world.admit(1), Admitted::Open { evicted: None, .. }));
    let world = World::new(100, 2);
    let loopback = Network::of(Ipv4Addr::LOCALHOST.into());
    for _ in 0..10 {
        let admitted = world.admission.admit(loopback, world.now);
        assert!(matches!(admitted, Admitted::Open { evicted: None, .. }));
    }
}

#[test]
fn nothing_is_kept_of_closed_connections() {
    let world = World::new(8, 2);
    for round in 0..1000_u32 {
        let phases = [Phase::Idle, Phase::Busy, Phase::Authenticated];
        let id = world.open(u8::try_from(round % 200).unwrap());
        world.enter(id, phases[round as usize % 3]);
        world.admission.close(id);
        world.enter(id, Phase::Idle);
        world.admission.close(id);
    }
    let state = world.admission.state();
    assert!(state.open.is_empty() && state.idle.is_empty() && state.networks.is_empty());
}
