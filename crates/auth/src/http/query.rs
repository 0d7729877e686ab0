//! The query of a request's URL.

use crate::adjustments::LIST_MAX;
use crate::db::ListPlace;
use crate::problem::Problem;

/// The parameters of a query, in their order.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query. Returns an error if it is malformed.
    pub fn parse(query: Option<String>) -> Result<Self, Problem> {
        let query = query.unwrap_or_default();
        let malformed = Problem::QueryInvalid("the query is malformed; encode it as a form");
        let pairs = serde_urlencoded::from_str(&query).map_err(|_| malformed)?;
        Ok(Self(pairs))
    }

    /// Removes a parameter, and returns its value.
    ///
    /// # Errors
    ///
    /// [`Problem::QueryInvalid`] if it is there twice.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.take_all(name);
        let value = values.pop();
        match values.is_empty() {
            true => Ok(value),
            false => Err(Problem::QueryInvalid("a parameter is there twice; give it once")),
        }
    }

    /// Removes all parameters of a name, and returns their values.
    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        let (own, rest) = std::mem::take(&mut self.0).into_iter().partition(|pair| pair.0 == name);
        self.0 = rest;
        let own: Vec<(String, String)> = own;
        own.into_iter().map(|(_, value)| value).collect()
    }

    /// Removes the parameters of a list: after which id it begins, and how long it is.
    pub fn take_page(&mut self) -> Result<(String, u32), Problem> {
        self.take_page_of(LIST_DEFAULT)
    }

    /// Does the same for a list that has `default` entries without the parameter `limit`.
    pub fn take_page_of(&mut self, default: u32) -> Result<(String, u32), Problem> {
        self.take_page_within(default, CURSOR_BYTES_MAX)
    }

    /// Does the same for a list whose cursors have up to `bytes_max` bytes.
    pub fn take_page_within(
        &mut self,
        default: u32,
        bytes_max: usize,
    ) -> Result<(String, u32), Problem> {
        let after = self.take("after")?.unwrap_or_default();
        if after.len() > bytes_max || after.contains('\0') {
            return Err(CURSOR_INVALID);
        }
        let limit = match self.take("limit")? {
            None => default,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                limit.ok_or(Problem::QueryInvalid("limit is out of bounds; give 1 to 1000"))?
            }
        };
        Ok((after, limit))
    }

    /// Removes the parameters of a list by time: after which entry it begins, and how long it is.
    pub fn take_page_by_time(&mut self) -> Result<(Option<ListPlace>, u32), Problem> {
        let (after, limit) = self.take_page()?;
        Ok((place(&after)?, limit))
    }

    /// Does the same for a list that has `default` entries without the parameter `limit`.
    pub fn take_page_by_time_of(
        &mut self,
        default: u32,
    ) -> Result<(Option<ListPlace>, u32), Problem> {
        let (after, limit) = self.take_page_of(default)?;
        Ok((place(&after)?, limit))
    }

    /// Removes a parameter for a search, and returns its value unless it is empty.
    ///
    /// # Errors
    ///
    /// [`Problem::QueryInvalid`] if it is too long or has control characters, which no name has.
    pub fn take_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let text = self.take(name)?.filter(|text| !text.is_empty());
        let is_valid = |text: &String| text.len() <= 256 && !text.chars().any(char::is_control);
        match text.as_ref().is_none_or(is_valid) {
            true => Ok(text),
            false => Err(Problem::QueryInvalid(
                "a text is too long, or has control characters; give at most 256 bytes",
            )),
        }
    }

    /// Checks that no parameter is left.
    pub fn finish(self) -> Result<(), Problem> {
        let problem = "a parameter is unknown; see the documentation of the endpoint";
        self.0.is_empty().then_some(()).ok_or(Problem::QueryInvalid(problem))
    }
}

fn place(after: &str) -> Result<Option<ListPlace>, Problem> {
    match after.is_empty() {
        true => Ok(None),
        false => ListPlace::parse(after).map(Some).ok_or(CURSOR_INVALID),
    }
}

/// The number of entries without the parameter `limit`.
const LIST_DEFAULT: u32 = 100;
/// The most bytes of a cursor that has no name.
const CURSOR_BYTES_MAX: usize = 256;
/// The error of a cursor that no response has.
pub const CURSOR_INVALID: Problem =
    Problem::QueryInvalid("after is invalid; give next of a response");

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Option<ListPlace>, u32), Problem> {
        let mut query = Query::parse(Some(text.to_owned()))?;
        let page = query.take_page_by_time()?;
        query.finish()?;
        Ok(page)
    }

    #[test]
    fn cursors_are_bounded() {
        let read = |length: usize, bytes_max: usize| {
            let text = format!("after={}", "a".repeat(length));
            let mut query = Query::parse(Some(text))?;
            query.take_page_within(LIST_DEFAULT, bytes_max).map(|(after, _)| after.len())
        };
        assert_eq!(read(256, CURSOR_BYTES_MAX), Ok(256));
        assert_eq!(read(257, CURSOR_BYTES_MAX), Err(CURSOR_INVALID));
        assert_eq!(read(1024, 1024), Ok(1024));
        assert_eq!(read(1025, 1024), Err(CURSOR_INVALID));
    }

    #[test]
    fn query_is_read_strictly_and_pages_follow_each_other() {
        let place = ListPlace { at: 17, id: "a-_B".into() };
        assert_eq!(read("limit=2&after=17.a-_B"), Ok((Some(place.clone()), 2)));
        assert_eq!(ListPlace::parse(&place.cursor()), Some(place));
        assert_eq!(read(""), Ok((None, LIST_DEFAULT)));
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=-1",
            "limit=1&limit=2",
            "other=1",
            "after=1",
            "after=x.y",
            "after=-1.y",
            "after=1.y%00",
            "after=1.y%27",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
