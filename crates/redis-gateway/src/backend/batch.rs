//! The commands of one request for one server, in steps.
//!
//! Redis holds the replies that its client has not read yet, without a limit. So each step is sent
//! only after the replies to the previous step.

use redis_rest::{Command, encode_resp2_command};

/// Encoded commands, in steps.
#[derive(Default)]
pub struct Batch {
    steps: Vec<Step>,
}

/// Commands that are sent in one write.
#[derive(Default)]
pub struct Step {
    /// The commands in RESP2.
    pub bytes: Vec<u8>,
    /// How many replies Redis sends.
    pub replies: usize,
    /// The most values that the replies contain, each as large as any value in Redis.
    pub values: usize,
}

impl Batch {
    /// Encodes commands that are independent of each other.
    pub fn new(commands: &[Command]) -> Self {
        let mut batch = Self::default();
        commands.iter().for_each(|command| batch.push(&[command]));
        batch
    }

    /// Appends commands that must not be separated.
    pub fn push(&mut self, commands: &[&Command]) {
        let values = commands.iter().map(|command| crate::command::values(command)).sum();
        let has_room = |step: &Step| step.values.saturating_add(values) <= STEP_VALUES;
        if !self.steps.last().is_some_and(has_room) {
            self.steps.push(Step::default());
        }
        if let Some(step) = self.steps.last_mut() {
            step.append(commands);
            step.values = step.values.saturating_add(values);
        }
    }

    /// Returns the steps in order.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Returns how many replies Redis sends to all steps.
    pub fn replies(&self) -> usize {
        self.steps.iter().map(|step| step.replies).sum()
    }
}

impl Step {
    /// Encodes the gateway's own queries, which do not wait for the replies to clients' commands.
    pub fn internal(commands: &[Command]) -> Self {
        let mut step = Self::default();
        step.append(&commands.iter().collect::<Vec<_>>());
        step
    }

    fn append(&mut self, commands: &[&Command]) {
        commands.iter().for_each(|command| encode_resp2_command(command, &mut self.bytes));
        self.replies += commands.len();
    }
}

/// The most values of a step with several commands. It is small enough for values of megabytes, and
/// large enough that the largest pipeline takes little more than a hundred round trips.
const STEP_VALUES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_ends_before_it_has_too_many_values() {
        fn check(commands: &[Command], expect: &[(usize, usize)]) {
            let steps = Batch::new(commands).into_steps();
            let sizes: Vec<_> = steps.iter().map(|step| (step.replies, step.values)).collect();
            assert_eq!(sizes, expect);
        }
        let get = Command::new("GET").arg("k");
        let mget = |keys: usize| (0..keys).fold(Command::new("MGET"), Command::arg);
        check(&[], &[]);
        check(&vec![get.clone(); 64], &[(64, 64)]);
        check(&vec![get.clone(); 130], &[(64, 64), (64, 64), (2, 2)]);
        check(&[mget(60), get.clone(), mget(4)], &[(2, 61), (1, 4)]);
        check(&[get.clone(), mget(500), get], &[(1, 1), (1, 500), (1, 1)]);
    }

    #[test]
    fn commands_pushed_together_are_one_step() {
        let get = Command::new("GET").arg("k");
        let mut batch = Batch::new(&vec![get.clone(); 63]);
        batch.push(&[&Command::new("ASKING"), &get]);
        let steps = batch.into_steps();
        assert_eq!(steps.iter().map(|step| step.replies).collect::<Vec<_>>(), [63, 2]);
        assert!(steps[1].bytes.starts_with(b"*1\r\n$6\r\nASKING\r\n"));
        assert_eq!(Step::internal(&[get]).values, 0);
    }
}
