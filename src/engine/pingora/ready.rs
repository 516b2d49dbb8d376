//! Hooks without `async`, and futures that are done already. Boxing what has no size allocates nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::Result;

/// What an asynchronous hook returns, as `async_trait` writes it.
pub(super) type Hook<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// Writes a hook that returns a [`Hook`] of its own making, with the lifetimes that `async_trait` gives it: one for each
/// reference, and one that all of them outlive.
macro_rules! hook {
    (fn $name:ident(&$this:ident, $($arguments:tt)*) -> $out:ty $body:block) => {
        hook!(@ ($name $this [$out] $body) ['a 'b 'c 'd] [] [] $($arguments)*,);
    };
    // Each reference takes the next of the lifetimes that are left.
    (
        @ $hook:tt [$next:lifetime $($left:lifetime)*] [$($used:lifetime)*] [$($made:tt)*]
        $argument:ident: &mut $type:ty, $($rest:tt)*
    ) => {
        hook!(@ $hook [$($left)*] [$($used)* $next] [$($made)* $argument: &$next mut $type,] $($rest)*);
    };
    (
        @ $hook:tt [$next:lifetime $($left:lifetime)*] [$($used:lifetime)*] [$($made:tt)*]
        $argument:ident: &$type:ty, $($rest:tt)*
    ) => {
        hook!(@ $hook [$($left)*] [$($used)* $next] [$($made)* $argument: &$next $type,] $($rest)*);
    };
    (
        @ $hook:tt [$next:lifetime $($left:lifetime)*] [$($used:lifetime)*] [$($made:tt)*]
        $argument:ident: Option<&$type:ty>, $($rest:tt)*
    ) => {
        hook!(@ $hook [$($left)*] [$($used)* $next] [$($made)* $argument: Option<&$next $type>,] $($rest)*);
    };
    (@ $hook:tt $left:tt $used:tt [$($made:tt)*] $argument:ident: $type:ty, $($rest:tt)*) => {
        hook!(@ $hook $left $used [$($made)* $argument: $type,] $($rest)*);
    };
    (@ ($name:ident $this:ident [$out:ty] $body:block) $left:tt [$($used:lifetime)*] [$($made:tt)*]) => {
        fn $name<'s, $($used,)* 'f>(&'s $this, $($made)*) -> Hook<'f, $out>
        where
            's: 'f,
            $($used: 'f,)*
        $body
    };
}

pub(super) use hook;

struct Done;
struct On;
struct Yes;
struct Unit;
struct Nobody;

/// A result that needs no waiting; only an error takes memory.
pub(super) fn ready<'f>(result: Result<()>) -> Hook<'f, Result<()>> {
    match result {
        Ok(()) => Box::pin(Done),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

/// `Ok(false)`: nothing was answered, the request goes on.
pub(super) fn on<'f>() -> Hook<'f, Result<bool>> {
    Box::pin(On)
}

/// `Ok(true)`.
pub(super) fn yes<'f>() -> Hook<'f, Result<bool>> {
    Box::pin(Yes)
}

/// Nothing.
pub(super) fn unit<'f>() -> Hook<'f, ()> {
    Box::pin(Unit)
}

/// Nobody.
pub(super) fn none<'f>() -> Hook<'f, Option<()>> {
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
