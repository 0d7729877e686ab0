//! What this process counts itself.

use crate::db::Counters;
use crate::outbox::DeliveryTimes;
use prometheus::IntCounterVec;
use prometheus::core::Collector as _;

/// The sources of this process's own counters. Their names begin with `auth_`.
pub struct OwnCounts {
    pub delivery_times: DeliveryTimes,
    /// Security events by their names. Logins are among them.
    pub events: IntCounterVec,
}

impl OwnCounts {
    /// Returns the counters since the start of the process.
    pub fn read(&self) -> Counters {
        let delivery = self.delivery_times.counts();
        let mut counters = Counters::new();
        for (bound, count) in delivery.buckets {
            let name = format!("auth_delivery_milliseconds_bucket{{le=\"{bound}\"}}");
            counters.insert(name, count);
        }
        let infinite = "auth_delivery_milliseconds_bucket{le=\"+Inf\"}";
        counters.insert(infinite.to_owned(), delivery.count);
        counters.insert("auth_delivery_milliseconds_count{}".to_owned(), delivery.count);
        counters.insert("auth_delivery_milliseconds_sum{}".to_owned(), delivery.sum_ms);
        for family in self.events.collect() {
            for metric in family.get_metric() {
                let event = metric.get_label().iter().find(|label| label.name() == "event");
                let name = event.map_or("", |label| label.value());
                // A counter of integers is exact up to 2^53.
                let count = metric.get_counter().get_value() as u64;
                counters.insert(format!("auth_events_total{{event=\"{name}\"}}"), count);
            }
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Opts, Registry};
    use std::time::Duration;

    #[test]
    fn events_and_deliveries_are_counted() {
        let events = IntCounterVec::new(Opts::new("events", "events"), &["event"]).unwrap();
        let delivery_times = DeliveryTimes::new(&Registry::new()).unwrap();
        let own = OwnCounts { delivery_times, events };
        own.events.with_label_values(&["login"]).inc_by(3);
        own.delivery_times.observe(Duration::from_millis(7));
        let counters = own.read();
        for (name, count) in [
            ("auth_events_total{event=\"login\"}", 3),
            ("auth_delivery_milliseconds_bucket{le=\"5\"}", 0),
            ("auth_delivery_milliseconds_bucket{le=\"10\"}", 1),
            ("auth_delivery_milliseconds_bucket{le=\"+Inf\"}", 1),
            ("auth_delivery_milliseconds_count{}", 1),
            ("auth_delivery_milliseconds_sum{}", 7),
        ] {
            assert_eq!(counters.get(name), Some(&count), "{name}");
        }
    }
}
