//! The query of endpoints that return a list page by page.

use crate::db::ListPlace;
use crate::problem::Problem;
use serde::Deserialize;

/// The parameters of a list's query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    limit: Option<u32>,
    after: Option<String>,
    /// The name to log in with, where users are listed.
    pub username: Option<String>,
}

impl ListQuery {
    /// Reads a request's query.
    pub fn read(query: Option<&str>) -> Result<Self, Problem> {
        serde_urlencoded::from_str(query.unwrap_or_default()).map_err(|_| INVALID)
    }

    /// Returns the most items of a page.
    pub fn limit(&self) -> Result<u32, Problem> {
        let limit = self.limit.unwrap_or(100);
        (1..=1000).contains(&limit).then_some(limit).ok_or(INVALID)
    }

    /// Returns the place after which the page begins; `None` for the first page.
    pub fn after(&self) -> Result<Option<ListPlace>, Problem> {
        let Some(text) = &self.after else { return Ok(None) };
        let (created_at, id) = text.split_once('.').ok_or(INVALID)?;
        let is_id = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        match created_at.parse() {
            Ok(created_at) if is_id => Ok(Some(ListPlace { created_at, id: id.to_owned() })),
            Ok(_) | Err(_) => Err(INVALID),
        }
    }
}

const INVALID: Problem = Problem::QueryInvalid(
    "the query is invalid; give limit (1 to 1000), and after from the last page's next",
);

/// Returns the text by which a client asks for the page after `last`, the last item of a full
/// page.
pub fn next_page(is_full: bool, last: Option<(u64, &str)>) -> Option<String> {
    last.filter(|_| is_full).map(|(created_at, id)| format!("{created_at}.{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_read_strictly_and_pages_follow_each_other() {
        let read = |text| ListQuery::read(Some(text));
        let query = read("limit=2&after=17.a-_B").unwrap();
        assert_eq!(query.limit().unwrap(), 2);
        let place = ListPlace { created_at: 17, id: "a-_B".into() };
        assert_eq!(query.after().unwrap(), Some(place));
        assert_eq!(next_page(true, Some((17, "a-_B"))).as_deref(), Some("17.a-_B"));
        assert_eq!(next_page(false, Some((17, "a"))), None);
        assert_eq!(ListQuery::read(None).unwrap().limit().unwrap(), 100);
        for bad in ["limit=0", "limit=1001"] {
            assert!(read(bad).unwrap().limit().is_err(), "{bad}");
        }
        for bad in ["after=", "after=1", "after=x.y", "after=-1.y", "after=1.y%00", "after=1.y%27"]
        {
            assert!(read(bad).unwrap().after().is_err(), "{bad}");
        }
        for bad in ["limit=x", "limit=-1", "limit=1&limit=2", "other=1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
