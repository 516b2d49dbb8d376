//! Pages that take long: made one after the other, beside the tasks that serve, and shared where that can be.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, StatusCode};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::seats::Mark;
use super::{Page, Pages, Rendering};

/// Makes the pages of a server.
pub(super) struct Making {
    pages: Arc<dyn Pages>,
    /// Whose turn it is.
    turn: Arc<Mutex<Last>>,
    /// Held by each request that waits for its turn or has it.
    waits: Arc<()>,
}

/// The shared page that was made last, and when that was begun; kept while somebody waits who may want it.
type Last = Option<(Instant, Page)>;

/// Of those who hold [`Making::waits`]: the field itself, and the request that looks.
const NOBODY_ELSE: usize = 2;

// === impl Making ===

impl Making {
    pub(super) fn new(pages: Arc<dyn Pages>) -> Self {
        Self { pages, turn: Arc::default(), waits: Arc::default() }
    }

    /// Answers a request.
    pub(super) async fn page(&self, request: Request<()>, mark: &Arc<Mark>) -> Page {
        let came = Instant::now();
        let is_shared = match self.pages.way(&request) {
            Rendering::Now(page) => return page,
            Rendering::Alone => false,
            Rendering::Shared => true,
        };
        let _working = mark.work();
        let waits = Arc::clone(&self.waits);
        let mut last = Arc::clone(&self.turn).lock_owned().await;
        let is_wanted = move || Arc::strong_count(&waits) > NOBODY_ELSE;
        // It was begun after this request came, so it is no older than one made for it.
        let fits = last.as_ref().filter(|(begun, _)| is_shared && *begun >= came).map(|(_, page)| page.clone());
        if !is_wanted() || fits.is_none() {
            *last = None;
        }
        if let Some(page) = fits {
            return page;
        }
        let pages = Arc::clone(&self.pages);
        // The turn goes with the work, which goes on when the client has left.
        let made = spawn_blocking(move || {
            let begun = Instant::now();
            let page = pages.page(&request);
            *last = Some((begun, page.clone())).filter(|_| is_shared && is_wanted());
            page
        });
        made.await.unwrap_or_else(|_| Page::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::telemetry::http::{Places, Seats};

    /// Says how often it was asked; each page waits until it is let go.
    struct Slow {
        made: AtomicUsize,
        begun: mpsc::Sender<()>,
        go: std::sync::Mutex<mpsc::Receiver<()>>,
    }

    impl Pages for Slow {
        fn way(&self, request: &Request<()>) -> Rendering {
            match request.uri().path() {
                "/now" => Rendering::Now(Page::text(StatusCode::OK, "now")),
                "/alone" => Rendering::Alone,
                _ => Rendering::Shared,
            }
        }

        fn page(&self, _: &Request<()>) -> Page {
            self.begun.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            let nth = self.made.fetch_add(1, Ordering::Relaxed) + 1;
            Page::text(StatusCode::OK, nth.to_string())
        }
    }

    fn mark() -> Arc<Mark> {
        let mut given = None;
        Seats::new(Places { all: 1, of_source: 1 }, Arc::default()).seat([10, 0, 0, 1].into(), |mark| {
            given = Some(mark);
            async {}
        });
        given.unwrap()
    }

    #[tokio::test]
    async fn those_who_ask_while_a_page_is_made_share_the_next_one_and_probes_wait_for_none() {
        let ((begun, has_begun), (go, wait)) = (mpsc::channel(), mpsc::channel());
        let slow = Slow { made: AtomicUsize::new(0), begun, go: std::sync::Mutex::new(wait) };
        let making = Arc::new(Making::new(Arc::new(slow)));
        let ask = |path: &'static str| {
            let making = Arc::clone(&making);
            tokio::spawn(async move {
                let page = making.page(Request::builder().uri(path).body(()).unwrap(), &mark()).await;
                String::from_utf8(page.body.to_vec()).unwrap()
            })
        };
        let first = ask("/shared");
        let has_begun =
            tokio::task::spawn_blocking(move || has_begun.recv().map(|()| has_begun)).await.unwrap().unwrap();
        let others: Vec<_> = (0..5).map(|_| ask("/shared")).collect();
        let alone = [ask("/alone"), ask("/alone")];
        assert_eq!(ask("/now").await.unwrap(), "now");
        // All of them wait by now: the runtime of the test has one thread, and they were started before.
        (0..4).for_each(|_| go.send(()).unwrap());
        assert_eq!(first.await.unwrap(), "1");
        for other in others {
            assert_eq!(other.await.unwrap(), "2", "made once for all that came while the first was made");
        }
        for (page, nth) in alone.into_iter().zip(["3", "4"]) {
            assert_eq!(page.await.unwrap(), nth);
        }
        assert!(making.turn.lock().await.is_none(), "nothing is kept for nobody");
        drop(has_begun);
    }
}
