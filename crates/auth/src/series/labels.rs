//! The labels of counters.

use crate::db::Counters;

/// Returns the counters of a name, such as `requests_total`, with the text of their labels.
pub fn labelled<'a>(
    counters: &'a Counters,
    name: &str,
) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
    let start = format!("{name}{{");
    let from = counters.range(start.clone()..);
    from.map_while(move |(field, count)| {
        let labels = field.strip_prefix(start.as_str())?;
        Some((labels.strip_suffix('}').unwrap_or(labels), *count))
    })
}

/// Returns the value of a label. A value contains no quote.
pub fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split("\",").find_map(|one| {
        let (key, value) = one.split_once("=\"")?;
        (key == name).then(|| value.strip_suffix('"').unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_name() {
        let labels = "route=\"a,code=\",outcome=\"refused\",code=\"x=y\"";
        assert_eq!(label(labels, "route"), Some("a,code="));
        assert_eq!(label(labels, "outcome"), Some("refused"));
        assert_eq!(label(labels, "code"), Some("x=y"));
        assert_eq!(label(labels, "cod"), None);
        assert_eq!(label("", "code"), None);
    }

    #[test]
    fn counters_are_found_by_the_whole_name() {
        let counters: Counters =
            [("a{}", 1), ("a_total{x=\"1\"}", 2), ("a_total{x=\"2\"}", 3), ("a_totals{}", 4)]
                .map(|(name, count)| (name.to_owned(), count))
                .into();
        let found: Vec<_> = labelled(&counters, "a_total").collect();
        assert_eq!(found, [("x=\"1\"", 2), ("x=\"2\"", 3)]);
        assert_eq!(labelled(&counters, "a").collect::<Vec<_>>(), [("", 1)]);
        assert_eq!(labelled(&counters, "b").count(), 0);
    }
}
