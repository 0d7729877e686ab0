//! A console for tests: its router, and browsers that use it.

use crate::adjustments::Adjustments;
use crate::console::console_router;
use crate::console::state::ConsoleState;
use crate::db::User;
use crate::http::{AppState, ClientInfoReader, Gauges, WriteRates};
use crate::outbox::DeliveryTimes;
use crate::random::random_id;
use crate::series::{OwnCounts, Series};
use crate::store::Store;
use crate::testing::{PASSWORD, T, TestService, config};
use crate::{accounts::hash_password, db::Db};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use portcullis_server::Log;
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// A console with its own database.
pub struct TestConsole {
    pub state: Arc<ConsoleState>,
    pub db: Arc<Db>,
    router: Router,
}

/// A response, read whole.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    /// Returns the body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Returns the stable code of an error; empty if the response is none.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts the status, and the code of an error.
    #[track_caller]
    pub fn assert(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{}", self.text);
    }
}

/// The origin of every console of a test.
pub const ORIGIN: &str = "https://console.example";

/// A browser with a session.
#[derive(Clone)]
pub struct Browser {
    /// The header `Cookie`.
    pub cookie: String,
    pub csrf: String,
}

impl TestConsole {
    /// Opens a console of a service, at [`ORIGIN`].
    pub fn open(service: TestService) -> Self {
        Self::open_at(service, ORIGIN)
    }

    /// Opens a console that browsers open at `origin`.
    pub fn open_at(service: TestService, origin: &str) -> Self {
        let TestService { sessions, api_keys, db, publisher, url } = service;
        let store = sessions.config().store.clone();
        let config = config(&url);
        let outcomes = IntCounterVec::new(Opts::new("o", "o"), &["endpoint", "outcome"]).unwrap();
        let registry = Registry::new();
        let shared_store = Arc::new(Store::new(&store.url, &store.token).unwrap());
        let delivery_times = DeliveryTimes::new(&registry).unwrap();
        let own = OwnCounts { delivery_times, events: sessions.audit().counts() };
        let keys = portcullis_core::StoreKeys::new(&store.key_prefix);
        let series = Series::new(Arc::clone(&db), Arc::clone(&shared_store), keys, own);
        let app = AppState {
            series: Arc::new(series),
            sessions,
            adjustments: Adjustments::new(Arc::clone(&db), publisher, &store.issuer),
            api_keys,
            db: Arc::clone(&db),
            store: shared_store,
            gauges: Gauges::new(&registry).unwrap(),
            registry,
            outcomes,
            log: Log::default(),
            stopping: watch::channel(false).1,
            write_rates: WriteRates::new(0),
            clients: ClientInfoReader::new(&config).unwrap(),
        };
        let state = Arc::new(ConsoleState::new(Arc::new(app), origin.to_owned(), 3600));
        let router = console_router(Arc::clone(&state));
        Self { state, db, router }
    }

    /// Adds a user with a scope. The password is [`PASSWORD`].
    pub async fn add(&self, username: &str, scope: &str) -> User {
        let user = User {
            id: random_id(),
            username: username.to_owned(),
            password_hash: hash_password(PASSWORD).unwrap(),
            scope: scope.to_owned(),
            ..User::default()
        };
        assert!(self.db.add_user(&user, &[], T).await.unwrap());
        user
    }

    /// Sends a request.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// Logs in with a password.
    pub async fn try_login(&self, username: &str, password: &str) -> Reply {
        let body = json!({ "username": username, "password": password });
        self.send(call("POST", "/console/api/session", None, &body)).await
    }

    /// Logs in.
    pub async fn login(&self, username: &str) -> Browser {
        let reply = self.try_login(username, PASSWORD).await;
        reply.assert(200, "");
        Browser::of(&reply)
    }

    /// Adds a user with a scope and logs in.
    pub async fn browser(&self, username: &str, scope: &str) -> Browser {
        self.add(username, scope).await;
        self.login(username).await
    }

    /// Sends a request with a session and everything that it needs.
    pub async fn call(&self, browser: &Browser, method: &str, path: &str, body: &Value) -> Reply {
        self.send(call(method, path, Some(browser), body)).await
    }

    /// Fetches JSON with a session.
    pub async fn get(&self, browser: &Browser, path: &str) -> Reply {
        let request = Request::get(path).header(header::COOKIE, &browser.cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Changes or counts rows, and returns the first number of the result.
    pub async fn sql(&self, statement: &str) -> i64 {
        self.db.query_number(statement).await.unwrap()
    }
}

impl Browser {
    /// Returns the browser after a login.
    pub fn of(reply: &Reply) -> Self {
        let cookie = reply.headers[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self { cookie, csrf: reply.json()["csrf"].as_str().unwrap().to_owned() }
    }
}

/// Returns a request with a JSON body, as a page of the console sends it.
pub fn call(method: &str, path: &str, browser: Option<&Browser>, body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::ORIGIN, ORIGIN);
    request = request.header(header::CONTENT_TYPE, "application/json");
    if let Some(Browser { cookie, csrf }) = browser {
        request = request.header(header::COOKIE, cookie).header("x-csrf-token", csrf);
    }
    request.body(Body::from(body.to_string())).unwrap()
}
