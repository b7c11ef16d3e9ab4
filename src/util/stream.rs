//! The next item of a stream, such as zbus hands out for signals: one function, instead of a
//! crate with all that can be done with streams.

use std::{future::poll_fn, pin::Pin};

use zbus::export::futures_core::Stream;

/// The next item; none, if the stream has ended. Dropping the future loses nothing.
pub(crate) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}
