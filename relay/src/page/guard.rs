//! The guard before an address: lets a request through whose caller has the role, and sends a browser without a login
//! to the login page. It does not decide who a caller is.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use service::http::problem::Problem;

use super::access::{Credential, same_origin};
use super::site::Site;
use crate::config::page::Role;

/// Lets a request of a caller with `role` through, and hands on the caller.
pub(super) async fn guard(
    State((site, role)): State<(Arc<Site>, Role)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = match site.access.caller(peer.ip(), request.headers()) {
        Ok(caller) => caller,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED && wants_page(&request) => {
            return Ok(to_login(&request));
        }
        Err(problem) => return Err(problem),
    };
    if caller.role < role {
        // A caller without a name can still log in.
        let status = if caller.name.is_none() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        return Err(Problem::new(status, "this needs the token of an operator; log in with one"));
    }
    if !request.method().is_safe() && caller.credential != Credential::Bearer {
        same_origin(request.headers())?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// True for a browser's request for a page, which is redirected to the login page.
fn wants_page(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    request.method() == Method::GET && accepts.is_some_and(|accept| accept.contains("text/html"))
}

fn to_login(request: &Request) -> Response {
    let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let next = serde_urlencoded::to_string([("next", next)]).unwrap_or_default();
    Redirect::to(&format!("/login?{next}")).into_response()
}
