//! Futures that are done already. Boxing what has no size allocates nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::Result;

/// What an asynchronous hook returns, as `async_trait` writes it.
pub(crate) type Hook<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

struct Done;
struct On;
struct Yes;
struct Unit;
struct Nobody;

/// A result that needs no waiting; only an error takes memory.
pub(crate) fn ready<'f>(result: Result<()>) -> Hook<'f, Result<()>> {
    match result {
        Ok(()) => Box::pin(Done),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

/// `Ok(false)`: nothing was answered, the request goes on.
pub(crate) fn on<'f>() -> Hook<'f, Result<bool>> {
    Box::pin(On)
}

/// `Ok(true)`.
pub(crate) fn yes<'f>() -> Hook<'f, Result<bool>> {
    Box::pin(Yes)
}

/// Nothing.
pub(crate) fn unit<'f>() -> Hook<'f, ()> {
    Box::pin(Unit)
}

/// Nobody.
pub(crate) fn none<'f>() -> Hook<'f, Option<()>> {
    Box::pin(Nobody)
}

impl Future for Nobody {
    type Output = Option<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
        Poll::Ready(None)
    }
}

impl Future for Done {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

impl Future for On {
    type Output = Result<bool>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(false))
    }
}

impl Future for Yes {
    type Output = Result<bool>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(true))
    }
}

impl Future for Unit {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
