//! What answers requests.

use crate::connection::Connection;
use crate::request_body::RequestBody;
use hyper::body::Body;
use hyper::{Request, Response};
use std::error::Error;

/// A function that answers requests.
pub trait Handler: Clone + Send + 'static {
    /// The body of its responses.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
    /// Resolves to the response.
    type Future: Future<Output = Response<Self::Body>> + Send + 'static;

    /// Answers one request.
    fn handle(&self, connection: Connection, request: Request<RequestBody>) -> Self::Future;
}

impl<H, F, B> Handler for H
where
    H: Fn(Connection, Request<RequestBody>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
    type Future = F;

    fn handle(&self, connection: Connection, request: Request<RequestBody>) -> F {
        self(connection, request)
    }
}
