//! What each limit is tried with.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::upstream::until_none;
use super::{Ask, Found, House, On, Talk, Upload, equal, head};
use crate::support::frames::{self, DATA, END_HEADERS, GOAWAY, Got, HEADERS, RST, SETTINGS, WINDOW};
use crate::support::*;

// === what a request may measure ===

impl House {
    pub async fn a_body_too_large(&self, on: On) -> Found {
        let body = Some(Upload { length: 11, bytes: 0 });
        self.is(on, Ask { body, ..Ask::get("/told") }, 413, "body_too_large").await?;
        if on == On::Http2 {
            // Without a length it is seen when it comes.
            let mut client = self.open_h2().await;
            client.frame(HEADERS, END_HEADERS, 1, &frames::block(&head("POST", "/untold"))).await;
            client.frame(DATA, 0, 1, &[b'x'; 11]).await;
            return equal(client.outcome(1).await, Got::Status("413".into()));
        }
        let mut client = self.open(on).await;
        let chunk = "POST /untold HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nxxxxxxxxxxx\r\n";
        equal(client.send(chunk).await.map(|answer| answer.status), Some(413))
    }

    pub async fn a_head_too_large(&self, on: On) -> Found {
        let fields = vec![("x-large".to_owned(), "y".repeat(3000))];
        self.is(on, Ask { fields, ..Ask::get("/large") }, 431, "headers_too_large").await?;
        if on == On::Http2 {
            return self.a_head_of_frames_without_end().await;
        }
        for piece in [&b"y"[..], b"Y: y\r\n"] {
            let mut client = self.open(on).await;
            client.stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a.test\r\nX: ").await.unwrap();
            // As much as an eager client has on its way before it hears the answer.
            let _ = client.stream.write_all(&piece.repeat(20_000 / piece.len())).await;
            let _ = client.stream.flush().await;
            equal(client.read().await.map(|answer| answer.status), Some(431))?;
        }
        let early = |line: &serde_json::Value| line["url.path"] == "" && line["reason"] == "headers_too_large";
        let line = self.proxy.log_line(early).await;
        let read = line["http.request.size"].as_u64().unwrap();
        if read > 2048 + 16 * 1024 { Err(format!("{read} bytes were read of a head: {line}")) } else { Ok(()) }
    }

    /// Frames of a head that go on and on end the connection.
    pub async fn a_head_of_frames_without_end(&self) -> Found {
        let mut client = self.open_h2().await;
        client.frame(HEADERS, 0, 1, &frames::block(&head("GET", "/"))).await;
        let piece = frames::block(&[("x", &"y".repeat(16_000))]);
        let mut sent = 0;
        while client.frame(9, 0, 1, &piece).await && sent < 100 {
            sent += 1;
        }
        equal(client.outcome(1).await, Got::Gone)
    }

    pub async fn a_target_too_long(&self, on: On) -> Found {
        let path = format!("/{}", "x".repeat(2000));
        self.is(on, Ask::get(&path), 414, "uri_too_long").await?;
        if on == On::Http2 {
            return Ok(());
        }
        let mut client = self.open(on).await;
        client.stream.write_all(&[b"GET /".as_slice(), &[b'x'; 20_000]].concat()).await.unwrap();
        client.stream.flush().await.unwrap();
        equal(client.read().await.map(|answer| answer.status), Some(414))
    }
}

// === what a client must send and read ===

impl House {
    pub async fn a_head_that_does_not_come(&self, on: On) -> Found {
        if on != On::Http2 {
            let mut client = self.open(on).await;
            let answer = client.send("GET /half HTTP/1.1\r\nHost: a.test\r\n").await;
            return equal(answer.map(|answer| answer.status), Some(408));
        }
        // A stream that waits keeps the connection from being idle.
        let mut client = self.open_h2().await;
        client.frame(HEADERS, END_HEADERS | frames::END_STREAM, 1, &frames::block(&head("GET", "/silent"))).await;
        client.frame(HEADERS, 0, 3, &frames::block(&head("GET", "/half"))).await;
        let begun = Instant::now();
        while client.next().await.is_some() {}
        if begun.elapsed() > Duration::from_secs(20) {
            return Err("it was something else that ended it".into());
        }
        let timeouts = "tidegate_connection_failures_total{listener=\"https\",reason=\"timeout_header\"}";
        if metrics(&self.proxy).await[timeouts] < 1.0 { Err("not counted".into()) } else { Ok(()) }
    }

    pub async fn a_body_that_does_not_come(&self, on: On) -> Found {
        let body = Some(Upload { length: 1000, bytes: 1 });
        self.is(on, Ask { body, ..Ask::get("/silent-body") }, 408, "body_timeout").await?;
        // A drip is below the rate: a byte each 50 ms is a fifth of it.
        if on == On::Http2 {
            return self.a_stream_that_drips_beside_another().await;
        }
        let (mut read, mut write) = tokio::io::split(self.open(on).await.stream);
        let lines = Ask { body, ..Ask::get("/silent-drip") }.lines();
        let dripping = async {
            let _ = write.write_all(lines.as_bytes()).await;
            while write.write_all(b"x").await.is_ok() && write.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut buffer = Vec::new();
        let answer = tokio::select! {
            answer = read_message(&mut read, &mut buffer, false) => answer,
            () = dripping => unreachable!(),
        };
        equal(answer.map(|answer| answer.status), Some(408))?;
        self.lets_go().await;
        Ok(())
    }

    pub async fn a_stream_that_drips_beside_another(&self) -> Found {
        let mut client = self.open_h2().await;
        client.frame(HEADERS, END_HEADERS, 1, &frames::block(&head("POST", "/silent-drip"))).await;
        let got = loop {
            client.frame(DATA, 0, 1, b"x").await;
            if let Ok(Some((kind, _, 1, _))) = tokio::time::timeout(Duration::from_millis(50), client.next()).await {
                break kind;
            }
        };
        equal(got, HEADERS)?;
        equal(Self::ask_h2(&mut client, 3, &Ask::get("/beside")).await, 200)?;
        self.lets_go().await;
        Ok(())
    }

    pub async fn an_idle_connection(&self, on: On) -> Found {
        if on != On::Http2 {
            let mut client = self.open(on).await;
            equal(client.get("a.test", "/").await.map(|answer| answer.status), Some(200))?;
            return equal(client.read().await.is_none(), true);
        }
        for (kind, payload) in [(6, &[0; 8][..]), (SETTINGS, &[]), (2, &[0, 0, 0, 0, 1])] {
            let mut client = self.open_h2().await;
            equal(Self::ask_h2(&mut client, 1, &Ask::get("/")).await, 200)?;
            let stream = if kind == 2 { 101 } else { 0 };
            loop {
                client.frame(kind, 0, stream, payload).await;
                if let Ok(None) = tokio::time::timeout(Duration::from_millis(20), client.next()).await {
                    break;
                }
            }
        }
        Ok(())
    }

    pub async fn an_answer_that_is_not_read(&self, on: On) -> Found {
        let path = format!("/floods/{on:?}");
        match on {
            On::Tunnel => return self.a_tunnel_ends("/floods", Talk::Stalls).await,
            On::Http1 | On::Tls => {
                let mut client = self.open(on).await;
                client.stream.write_all(Ask::get(&path).lines().as_bytes()).await.unwrap();
                client.stream.flush().await.unwrap();
                self.is_told(&path, "client_closed").await?;
            }
            On::Http2 => {
                let mut client = self.open_h2().await;
                client.frame(HEADERS, END_HEADERS | frames::END_STREAM, 1, &frames::block(&head("GET", &path))).await;
                while !matches!(client.soon().await, Some((RST, _, 1, _))) {}
                // The window of the connection is another one's business.
                client.frame(WINDOW, 0, 0, &(1_u32 << 20).to_be_bytes()).await;
                equal(Self::ask_h2(&mut client, 3, &Ask::get("/beside")).await, 200)?;
                self.is_told(&path, "client_closed").await?;
            }
        }
        Ok(())
    }

    /// A tunnel is closed on both sides, whatever the client does.
    pub async fn a_tunnel_ends(&self, path: &str, talk: Talk) -> Found {
        let mut client = self.open(On::Http1).await;
        let lines = format!("GET {path}/tunnel HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\n");
        equal(client.send(&lines).await.map(|answer| answer.status), Some(101))?;
        let (mut read, mut write) = tokio::io::split(client.stream);
        let talking = async {
            let _ = write.write_all(b"hello").await;
            while talk == Talk::Floods && write.write_all(&[b'x'; 64 << 10]).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut room = [0; 1024];
        tokio::select! {
            () = talking => {}
            () = async { while talk != Talk::Stalls && read.read(&mut room).await.is_ok_and(|count| count > 0) {} },
                if talk != Talk::Stalls => {}
            () = self.until_tunnel_is_over(path) => {}
        }
        self.until_tunnel_is_over(path).await;
        self.lets_go().await;
        Ok(())
    }

    pub async fn until_tunnel_is_over(&self, path: &str) {
        let path = format!("{path}/tunnel");
        self.proxy.log_line(|line| line["url.path"] == path).await;
    }
}

// === how many there may be ===

impl House {
    pub async fn requests_of_a_connection(&self, on: On) -> Found {
        if on != On::Http2 {
            let mut client = self.open(on).await;
            equal(client.get("a.test", "/").await.map(|answer| answer.status), Some(200))?;
            equal(client.get("a.test", "/").await.map(|answer| answer.status), Some(200))?;
            return equal(client.get("a.test", "/").await.is_none(), true);
        }
        let mut client = self.open_h2().await;
        equal(Self::ask_h2(&mut client, 1, &Ask::get("/")).await, 200)?;
        client.frame(HEADERS, END_HEADERS | frames::END_STREAM, 3, &frames::block(&head("GET", "/"))).await;
        let (mut is_answered, mut is_told) = (false, false);
        while let Some((kind, flags, stream, payload)) = client.soon().await {
            is_answered |= kind == HEADERS && stream == 3;
            is_told |= kind == GOAWAY && payload[4..8] == [0; 4];
            if kind == 6 && flags == 0 {
                client.frame(6, 1, 0, &payload).await;
            }
        }
        equal((is_answered, is_told), (true, true))
    }

    pub async fn too_many_connections(&self, on: On) -> Found {
        let series = "tidegate_capacity_used{resource=\"connections\"}";
        until_metric(&self.proxy, series, 0.0).await;
        let _held = (self.open(On::Http1).await, self.open(On::Http1).await);
        until_metric(&self.proxy, series, 2.0).await;
        if on == On::Http1 {
            let mut client = self.open(on).await;
            return equal(client.get("a.test", "/").await.is_none(), true);
        }
        let protocol = if on == On::Http2 { "h2" } else { "http/1.1" };
        equal(tls(self.proxy.https(), "a.test", &[protocol]).await.is_err(), true)
    }

    pub async fn too_little_memory(&self, on: On) -> Found {
        until_metric(&self.proxy, "tidegate_overload", 1.0).await;
        self.is(on, Ask::get("/memory"), 503, "overload").await
    }

    /// None of them flows on its own window, so that all of what is read ahead of them waits.
    pub async fn answers_that_nobody_reads(&self) -> Found {
        let echo = Echo::start("large").await;
        crate::memory::held_back(&echo, "h2ResponseBuffer: 128KiB", 128 << 10).await;
        Ok(())
    }

    /// Two requests are all that there is, or half of what there is.
    pub async fn too_many_requests(&self, on: On) -> Found {
        let mut held = (self.open(On::Http1).await, self.open(On::Http1).await);
        for client in [&mut held.0, &mut held.1] {
            client.stream.write_all(Ask::get("/silent").lines().as_bytes()).await.unwrap();
        }
        until_metric(&self.proxy, "tidegate_upstream_requests{upstream=\"upstream/a\"}", 2.0).await;
        equal(self.ask(on, &Ask::get(&format!("/over/{on:?}"))).await, 503)?;
        drop(held);
        self.is_told(&format!("/over/{on:?}"), "over_share").await
    }

    pub async fn too_many_streams(&self) -> Found {
        let mut client = self.open_h2().await;
        for stream in [1, 3, 5, 7] {
            let block = frames::block(&head("GET", "/silent"));
            client.frame(HEADERS, END_HEADERS | frames::END_STREAM, stream, &block).await;
        }
        while let Some((kind, _, stream, payload)) = client.soon().await {
            if kind == RST {
                return equal((stream, payload), (7, vec![0, 0, 0, 7]));
            }
        }
        Err("the connection has ended".into())
    }

    pub async fn more_than_the_window(&self) -> Found {
        let mut client = self.open_h2().await;
        client.frame(HEADERS, END_HEADERS, 1, &frames::block(&head("POST", "/deaf"))).await;
        for _ in 0..8 {
            client.frame(DATA, 0, 1, &[b'x'; 4096]).await;
            client.frame(DATA, 0, 1, &[b'x'; 16_384]).await;
        }
        // Of the stream or of the connection, whichever window is passed first.
        equal(matches!(client.outcome(1).await, Got::Gone | Got::Reset), true)
    }
}

// === what an upstream must do ===

impl House {
    pub async fn a_head_that_drips(&self, on: On) -> Found {
        self.is(on, Ask::get("/drips"), 504, "upstream_timeout").await?;
        self.is(on, Ask::get("/interim"), 504, "upstream_timeout").await?;
        let body = Some(Upload { length: 4, bytes: 4 });
        self.is(on, Ask { body, ..Ask::get("/drips/body") }, 504, "upstream_timeout").await?;
        if on == On::Http2 {
            return Ok(());
        }
        // A client that has already sent its next request is not waited for either.
        let mut client = self.open(on).await;
        let lines = Ask::get("/drips/first").lines();
        client.stream.write_all((lines.clone() + &lines).as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        client.stream.write_all(lines.as_bytes()).await.unwrap();
        client.stream.flush().await.unwrap();
        equal(client.read().await.map(|answer| answer.status), Some(504))
    }

    pub async fn an_idle_upstream_connection(&self, on: On) -> Found {
        equal(self.ask(on, &Ask::get("/kept")).await, 200)?;
        until_none(&self.upstream.open).await;
        Ok(())
    }

    pub async fn endpoints_that_do_not_come(&self, on: On) -> Found {
        let begun = Instant::now();
        self.is(on, Ask::get("/dead"), 502, "connect_failed").await?;
        let took = begun.elapsed();
        if took < Duration::from_millis(300) { Err(format!("after {took:?}")) } else { Ok(()) }
    }
}
