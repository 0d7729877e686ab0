//! A member that is one text, or a list of texts.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::{MemberShape, TextFormat};
use serde_json::Value;

impl ObjectReader<'_, '_> {
    /// Returns the texts of a member that is one text or a list of at least one, each once. A text
    /// that does not fit is an error, `must be {expected}`. A missing member has no texts.
    pub(super) fn one_or_more(
        &mut self,
        name: &str,
        kind: ConfigErrorKind,
        fits: fn(&str) -> bool,
    ) -> Vec<String> {
        let text = || Box::new(MemberShape::Text(TextFormat::Nonempty));
        let (values, is_list) = match self.value(name, || MemberShape::OneOrMore(text())) {
            None => return Vec::new(),
            Some(Value::Array(values)) => (values, true),
            Some(value) => (vec![value], false),
        };
        if values.is_empty() {
            self.add_error(name, ConfigErrorKind::Empty);
        }
        let mut texts: Vec<String> = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let place = if is_list { format!("{name}[{at}]") } else { name.to_owned() };
            let is_assumed = self.settings.is_assumed(&self.at(&place));
            match value.as_str().filter(|text| is_assumed || fits(text)) {
                None => self.add_error(&place, kind.clone()),
                Some(text) if texts.iter().any(|own| own == text) => {
                    self.add_error(&place, ConfigErrorKind::Duplicate);
                }
                Some(text) => texts.push(text.to_owned()),
            }
        }
        texts
    }
}
