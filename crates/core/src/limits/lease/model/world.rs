//! Isolates with their leases, the network, the store, and the true time. One action at a time
//! changes them; what may happen next is a choice of the caller.

use super::setup::{Action, Budget, Mutation, Setup};
use super::store::{Answer, Kind, Rules, Store};
use super::{Granted, LeaseKey, Leases, Spend};
use std::rc::Rc;

/// The key that all isolates lease.
pub const KEY: LeaseKey = LeaseKey { key: [1; 32], quota: 1 };
const OTHER_KEY: LeaseKey = LeaseKey { key: [2; 32], quota: 1 };
/// When a world begins, in Unix milliseconds. A window of any whole second begins then.
pub const BEGIN_MS: u64 = 1_700_006_400_000;

/// A question to the store, or its answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Message {
    pub isolate: usize,
    pub asked_ms: u64,
    pub cost: u32,
    pub ahead: u32,
    pub answer: Option<Answer>,
    /// The answer that the store remembers for a retry.
    pub remembered: Option<Answer>,
    /// Whether the answer has arrived once already.
    pub has_arrived: bool,
}

/// An isolate.
#[derive(Clone)]
pub struct Isolate {
    pub leases: Leases,
    /// By how much its clock went back.
    pub behind_ms: u64,
}

/// One execution of the script, and its reply.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The quota that applied.
    pub quota: u64,
    pub now_ms: u64,
    pub cost: u64,
    pub wanted: u64,
    pub answer: Answer,
}

/// A state.
#[derive(Clone)]
pub struct World {
    /// The true time, which is the store's, in Unix milliseconds.
    pub now_ms: u64,
    pub store: Store,
    pub isolates: Vec<Rc<Isolate>>,
    pub messages: Vec<Message>,
    pub budget: Budget,
    /// What was truly admitted. For a bucket, what it owes is the most by which any interval up to
    /// now exceeds what the rate supplies in it.
    pub admitted: Store,
    /// The most that was admitted beyond the limit, in requests.
    pub excess: u64,
    /// The quota that applies now.
    pub quota: u64,
    /// What was truly admitted since `low_from_ms`.
    pub low: Store,
    /// Since when the smallest quota bounds what is admitted: for as long as a lease lasts, the
    /// larger one did before it.
    pub low_from_ms: u64,
    /// What the store executed, if the setup says so.
    pub calls: Vec<Call>,
}

impl World {
    /// Creates a world in which each isolate has seen a request with the key, one after the other.
    pub fn new(setup: &Setup, budget: Budget) -> Self {
        let isolate = Rc::new(Isolate { leases: Leases::new(8), behind_ms: 0 });
        let mut world = Self {
            now_ms: BEGIN_MS - setup.isolates as u64 * setup.first_ms,
            store: Store::default(),
            isolates: vec![isolate; setup.isolates],
            messages: Vec::new(),
            budget,
            admitted: Store::default(),
            excess: 0,
            quota: setup.rules.quota,
            low: Store::default(),
            low_from_ms: 0,
            calls: Vec::new(),
        };
        for isolate in 0..setup.isolates {
            world.request(setup, isolate, setup.first_cost, 0);
            world.execute(setup, 0, false);
            world.deliver(setup, 0, 0);
            world.now_ms += setup.first_ms;
        }
        world
    }

    /// Returns all that may happen next.
    pub fn actions(&self, setup: &Setup) -> Vec<Action> {
        let (mut actions, budget) = (Vec::new(), &self.budget);
        for place in 0..self.messages.len() {
            let message = &self.messages[place];
            if self.messages[..place].contains(message) {
                continue;
            }
            if message.answer.is_some() {
                actions.push(Action::Deliver { place, lag_ms: 0 });
            } else {
                actions.push(Action::Execute { place, is_lost: false });
                if budget.lost > 0 {
                    actions.push(Action::Execute { place, is_lost: true });
                }
            }
            if budget.failures > 0 {
                actions.push(Action::Fail { place });
            }
        }
        for isolate in 0..self.isolates.len() {
            if budget.requests > 0 {
                actions.push(Action::Request { isolate, lag_ms: 0 });
            }
            for lag_ms in setup.lags_ms.iter().copied().filter(|_| budget.drains > 0) {
                if self.is_leased(setup, isolate, setup.cost, lag_ms) {
                    actions.push(Action::Drain { isolate, lag_ms });
                }
            }
            if budget.crashes > 0 {
                actions.push(Action::Crash { isolate });
            }
            if budget.steps > 0 {
                actions.push(Action::StepBack { isolate });
            }
        }
        if budget.ticks > 0 {
            actions.extend(setup.ticks_ms.iter().map(|ms| Action::Tick { ms: *ms }));
        }
        if budget.sweeps > 0 && self.store.left(&setup.charged(self.quota), self.now_ms) > 0 {
            actions.push(Action::Sweep);
        }
        if budget.flushes > 0 {
            actions.push(Action::Flush);
        }
        if budget.overrides > 0 {
            let quotas = setup.overrides.iter().copied().chain([setup.rules.quota]);
            let others = quotas.filter(|quota| *quota != self.quota);
            actions.extend(others.map(|quota| Action::Override { quota }));
        }
        actions
    }

    /// Does what happens. Counts it towards the budget.
    pub fn apply(&mut self, setup: &Setup, action: Action) {
        let budget = &mut self.budget;
        match action {
            Action::Request { isolate, lag_ms } => {
                budget.requests -= 1;
                self.request(setup, isolate, setup.cost, lag_ms);
            }
            Action::Drain { isolate, lag_ms } => {
                budget.drains -= 1;
                for cost in (0..16).rev().map(|shift| setup.cost << shift) {
                    if self.is_leased(setup, isolate, cost, lag_ms) {
                        self.request(setup, isolate, cost, lag_ms);
                    }
                }
            }
            Action::Sweep => {
                budget.sweeps -= 1;
                let left = self.store.left(&setup.charged(self.quota), self.now_ms);
                self.ask(setup, left, 0);
            }
            Action::Execute { place, is_lost } => {
                budget.lost -= u16::from(is_lost);
                self.execute(setup, place, is_lost);
            }
            Action::Deliver { place, lag_ms } => self.deliver(setup, place, lag_ms),
            Action::Fail { place } => {
                budget.failures -= 1;
                let message = self.messages.remove(place);
                self.leases(message.isolate).fail(KEY);
            }
            Action::Tick { ms } => {
                budget.ticks -= 1;
                self.now_ms += ms;
            }
            Action::Crash { isolate } => {
                budget.crashes -= 1;
                *self.leases(isolate) = Leases::new(8);
                self.messages.retain(|message| message.isolate != isolate);
            }
            Action::StepBack { isolate } => {
                budget.steps -= 1;
                // If the isolate is busy, requests see the clock before and after.
                let before_ms = self.reading(isolate, 0);
                let own = Rc::make_mut(&mut self.isolates[isolate]);
                own.behind_ms += setup.step_ms;
                if setup.is_step_seen {
                    own.leases.spend(OTHER_KEY, setup.terms, 1, before_ms);
                    own.leases.spend(KEY, setup.terms, 1, before_ms - setup.step_ms);
                }
            }
            Action::Flush => {
                budget.flushes -= 1;
                self.store = Store::default();
            }
            Action::Override { quota } => {
                budget.overrides -= 1;
                self.quota = quota;
                if quota == setup.quotas().0 {
                    self.low_from_ms = self.now_ms + setup.terms.life_ms;
                }
            }
        }
        if let Some(spoil) = setup.spoil {
            (0..self.isolates.len()).for_each(|isolate| spoil(self.leases(isolate)));
        }
    }

    /// Does something at random. The bits of `choice` say what.
    pub fn apply_random(&mut self, setup: &mut Setup, choice: u64) {
        let number = |shift: u32, bound: u64| (choice >> shift) % 4096 % bound;
        let isolate = usize::try_from(number(8, self.isolates.len() as u64)).unwrap();
        let lag_ms = number(20, setup.margin_ms + 1);
        let place = usize::try_from(number(8, self.messages.len().max(1) as u64)).unwrap();
        let answer = self.messages.get(place).map(|message| message.answer);
        let life_ms = setup.terms.life_ms;
        let action = match (number(0, 64), answer) {
            (0..16, _) => Action::Request { isolate, lag_ms },
            (16..22, _) => Action::Drain { isolate, lag_ms },
            (22..26, _) => Action::Sweep,
            (26..44, Some(None)) => Action::Execute { place, is_lost: number(32, 8) == 0 },
            (26..44, Some(Some(_))) => Action::Deliver { place, lag_ms },
            (44, Some(_)) => Action::Fail { place },
            (45, _) => Action::Crash { isolate },
            (46, _) => {
                setup.step_ms = setup.margin_ms + 1 + number(32, 4000);
                Action::StepBack { isolate }
            }
            (47..52, _) => Action::Tick { ms: number(32, life_ms + 100) },
            (57..59, _) if !setup.overrides.is_empty() => {
                let count = setup.overrides.len() as u64 + 1;
                let place = usize::try_from(number(32, count)).unwrap();
                let quota = setup.overrides.get(place).copied().unwrap_or(setup.rules.quota);
                Action::Override { quota }
            }
            (52..57, _) => Action::Tick { ms: number(32, 8) },
            _ => Action::Tick { ms: number(32, life_ms / 4) },
        };
        self.apply(setup, action);
    }

    fn leases(&mut self, isolate: usize) -> &mut Leases {
        &mut Rc::make_mut(&mut self.isolates[isolate]).leases
    }

    fn reading(&self, isolate: usize, lag_ms: u64) -> u64 {
        self.now_ms - self.isolates[isolate].behind_ms - lag_ms
    }

    fn request(&mut self, setup: &Setup, isolate: usize, cost: u32, lag_ms: u64) {
        let asked_ms = self.reading(isolate, lag_ms);
        let leases = self.leases(isolate);
        let (cost, ahead) = match leases.spend(KEY, setup.terms, cost, asked_ms) {
            Spend::Ask { ahead } => (cost, ahead),
            Spend::Admitted { ahead, .. } => {
                if setup.mutation == Some(Mutation::CountedWhenUsed) {
                    self.store.count(&setup.charged(self.quota), self.now_ms, u64::from(cost));
                }
                self.admit(setup, u64::from(cost));
                (0, ahead)
            }
        };
        if cost + ahead > 0 {
            self.messages.push(Message {
                isolate,
                asked_ms,
                cost,
                ahead,
                answer: None,
                remembered: None,
                has_arrived: false,
            });
        }
    }

    fn is_leased(&self, setup: &Setup, isolate: usize, cost: u32, lag_ms: u64) -> bool {
        let now_ms = self.reading(isolate, lag_ms);
        let spend = self.isolates[isolate].leases.clone().spend(KEY, setup.terms, cost, now_ms);
        matches!(spend, Spend::Admitted { .. })
    }

    fn execute(&mut self, setup: &Setup, place: usize, is_lost: bool) {
        let Message { cost, ahead, remembered, .. } = self.messages[place];
        let answer = match remembered {
            Some(answer) => answer,
            None => self.ask(setup, u64::from(cost), u64::from(ahead)),
        };
        if !is_lost {
            self.messages[place].answer = Some(answer);
        } else if setup.mutation == Some(Mutation::RetryCountedOnce) {
            self.messages[place].remembered = Some(answer);
            let late = Message { answer: Some(answer), ..self.messages[place] };
            self.messages.push(late);
        }
    }

    fn deliver(&mut self, setup: &Setup, place: usize, lag_ms: u64) {
        let message = self.messages[place];
        let Some(answer) = message.answer else {
            return;
        };
        if setup.mutation == Some(Mutation::AnswerUsedTwice) && !message.has_arrived {
            self.messages[place].has_arrived = true;
        } else {
            self.messages.remove(place);
        }
        let now_ms = self.reading(message.isolate, lag_ms);
        let (mut terms, mut ends_ms, mut asked_ms) =
            (setup.terms, answer.ends_ms, message.asked_ms);
        match setup.mutation {
            Some(Mutation::LifeFromAnswer) => asked_ms = now_ms,
            Some(Mutation::OutlivesWindow) => ends_ms = 0,
            Some(Mutation::NoMargin) => {
                terms.life_ms += setup.margin_ms;
                ends_ms += if ends_ms > 0 { setup.margin_ms } else { 0 };
            }
            _ => {}
        }
        let units = u32::try_from(answer.taken).unwrap();
        let granted = Granted { units, ends_ms, left: 0, more_ms: 0, quota: 0 };
        let leases = self.leases(message.isolate);
        leases.grant(KEY, terms, granted, asked_ms, now_ms);
    }

    /// Asks the store. A request that it counts is admitted at that moment.
    fn ask(&mut self, setup: &Setup, cost: u64, wanted: u64) -> Answer {
        let rules = setup.charged(self.quota);
        let now_ms = self.now_ms;
        let wanted = match self.quota < setup.rules.quota {
            true => wanted * self.quota / setup.rules.quota,
            false => wanted,
        };
        let answer = if setup.mutation == Some(Mutation::CountedWhenUsed) {
            let answer = self.store.ask(&rules, now_ms, cost, 0);
            Answer { taken: wanted.min(answer.left / 4), ..answer }
        } else {
            self.store.ask(&rules, now_ms, cost, wanted)
        };
        if setup.records_calls {
            self.calls.push(Call { quota: self.quota, now_ms, cost, wanted, answer });
        }
        if answer.admitted {
            self.admit(setup, cost);
        }
        answer
    }

    fn admit(&mut self, setup: &Setup, cost: u64) {
        let (smallest, largest) = setup.quotas();
        let all = self.truly_admitted(self.admitted, setup.with_quota(largest), cost);
        self.admitted = all;
        if smallest == largest {
            return;
        }
        if self.quota == smallest && self.now_ms >= self.low_from_ms {
            self.low = self.truly_admitted(self.low, setup.with_quota(smallest), cost);
        } else {
            self.low = Store::default();
        }
    }

    /// Counts what was truly admitted, and by how much it is beyond the limit.
    fn truly_admitted(&mut self, admitted: Store, rules: Rules, cost: u64) -> Store {
        let now_ms = self.now_ms;
        let mut admitted = admitted.settled(&rules, now_ms);
        let is_window = matches!(rules.kind, Kind::FixedWindow | Kind::Period);
        let own = self.store;
        let is_open = own.is_open && now_ms < own.at + rules.window_ms;
        if is_window && is_open && !admitted.is_open {
            admitted = Store { at: own.at, is_open: true, ..Store::default() };
        }
        // A unit that is spent after its window, and before the next one begins, is of no window.
        if rules.kind == Kind::FixedWindow && !admitted.is_open {
            return admitted;
        }
        admitted.count(&rules, now_ms, cost);
        let beyond = admitted.beyond(&rules, now_ms, 0).max(0);
        let requests = u64::try_from(beyond).unwrap().div_ceil(rules.window_ms);
        self.excess = self.excess.max(requests);
        admitted
    }
}
