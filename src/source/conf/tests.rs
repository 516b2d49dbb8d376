use std::fs;

use tokio::sync::mpsc;

use super::*;
use crate::resources::conf::Conf;

const ROUTE: &str = "routes: [{ respond: { status: 204 } }]\n";

fn conf_file(text: &str) -> (tempfile::TempDir, ConfFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, text).unwrap();
    (folder, ConfFile::new(path))
}

fn conf(batch: &Batch) -> Option<&Conf> {
    batch.events.iter().find_map(|event| match event {
        Event::Apply(Object::Conf(conf)) => Some(&*conf.object),
        _ => None,
    })
}

fn codes(batch: &Batch) -> Vec<&'static str> {
    batch.diagnostics.iter().map(|it| it.code.as_str()).collect()
}

#[test]
fn the_first_load_gives_settings_and_a_complete_batch() {
    let (_folder, mut file) = conf_file(ROUTE);
    let (settings, batch) = file.load().unwrap();
    assert_eq!(conf(&batch), Some(&settings.conf));
    assert_eq!((batch.is_complete, settings.conf.routes.len()), (true, 1));
}

#[test]
fn a_bad_conf_keeps_the_last_good_one_and_is_told_once() {
    let (folder, mut file) = conf_file(ROUTE);
    file.load().unwrap();
    fs::write(folder.path().join("tidegate.yaml"), "routs: []\n").unwrap();
    let change = file.reread(Instant::now());
    let batch = change.batch.unwrap();
    assert_eq!((codes(&batch), batch.events.len(), change.settings), (vec!["InvalidConf"], 0, None));
    assert!(batch.diagnostics[0].position.is_some());
    assert!(file.reread(Instant::now()).batch.is_none());
    fs::write(folder.path().join("tidegate.yaml"), ROUTE).unwrap();
    let change = file.reread(Instant::now());
    let batch = change.batch.unwrap();
    assert_eq!((codes(&batch), batch.events.len(), change.settings), (vec![], 0, None));
}

#[test]
fn a_change_of_the_process_alone_sends_no_conf() {
    let (folder, mut file) = conf_file(ROUTE);
    file.load().unwrap();
    fs::write(folder.path().join("tidegate.yaml"), format!("threads: 7\n{ROUTE}")).unwrap();
    let change = file.reread(Instant::now());
    assert!(change.batch.is_none());
    assert_eq!(change.settings.map(|settings| settings.process.threads), Some(7));
}

#[test]
fn named_files_are_read_and_keep_their_last_good_content() {
    let (folder, mut file) = conf_file("upstreams: { u: { tls: { caFile: ca.pem } } }\n");
    let ca = |batch: &Batch| conf(batch).unwrap().upstreams["u"].tls.ca.clone();
    let (_, batch) = file.load().unwrap();
    assert_eq!((ca(&batch), codes(&batch)), (None, vec!["FileUnreadable"]));
    fs::write(folder.path().join("ca.pem"), "one").unwrap();
    let batch = file.reread(Instant::now()).batch.unwrap();
    assert_eq!((ca(&batch).as_deref(), codes(&batch)), (Some("one"), vec![]));
    fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let batch = file.reread(Instant::now()).batch.unwrap();
    assert_eq!((batch.events.len(), codes(&batch)), (0, vec!["FileUnreadable"]));
    fs::write(folder.path().join("ca.pem"), "two").unwrap();
    assert_eq!(ca(&file.reread(Instant::now()).batch.unwrap()).as_deref(), Some("two"));
}

#[test]
fn changes_are_followed_and_settings_are_told_before_their_batch() {
    let (folder, mut file) = conf_file(ROUTE);
    file.load().unwrap();
    let (sender, mut batches) = mpsc::channel(4);
    let (tell, settings) = std::sync::mpsc::channel();
    let watching = file.watch(sender, move |settings| tell.send(settings).unwrap()).unwrap();
    fs::write(folder.path().join(".new"), format!("threads: 3\n{ROUTE}trustedProxies: [10.0.0.0/8]\n")).unwrap();
    fs::rename(folder.path().join(".new"), folder.path().join("tidegate.yaml")).unwrap();
    watching.reload();
    let batch = batches.blocking_recv().unwrap();
    assert_eq!(conf(&batch).unwrap().trusted_proxies.len(), 1);
    assert_eq!(settings.try_recv().unwrap().process.threads, 3);
    drop(watching);
    assert!(batches.blocking_recv().is_none());
}

#[test]
fn a_reload_that_is_asked_for_tells_the_settings_although_nothing_changed() {
    let (_folder, mut file) = conf_file(ROUTE);
    let (first, _) = file.load().unwrap();
    let (sender, _batches) = mpsc::channel(4);
    let (tell, settings) = std::sync::mpsc::channel();
    let watching = file.watch(sender, move |settings| tell.send(settings).unwrap()).unwrap();
    watching.reload();
    let told = settings.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    assert_eq!(told.conf, first.conf);
}

const PLUGIN_FILE: &str = "plugins: { p: { type: any, users: { file: users } } }\n";

fn plugin_file(conf: &Conf) -> Option<&[u8]> {
    conf.plugin_files.0.get("users").map(|contents| &**contents)
}

#[test]
fn a_named_file_that_is_missing_at_start_is_told_and_keeps_nobody_from_starting() {
    let (folder, mut file) = conf_file(PLUGIN_FILE);
    let (settings, batch) = file.load().unwrap();
    assert_eq!((plugin_file(&settings.conf), codes(&batch), batch.is_complete), (None, vec!["FileUnreadable"], true));
    fs::write(folder.path().join("users"), "hidden").unwrap();
    let change = file.reread(Instant::now());
    let batch = change.batch.unwrap();
    assert_eq!((plugin_file(conf(&batch).unwrap()), codes(&batch)), (Some(&b"hidden"[..]), vec![]));
    let shown = format!("{:?} {}", change.settings, serde_json::to_string(conf(&batch).unwrap()).unwrap());
    assert!(!shown.contains("hidden") && !shown.contains("104, 105"), "{shown}");
}

#[test]
fn a_plugin_s_file_that_breaks_keeps_its_last_good_content() {
    let (folder, mut file) = conf_file(PLUGIN_FILE);
    let path = folder.path().join("users");
    fs::write(&path, "one").unwrap();
    file.load().unwrap();
    type Break = fn(&Path);
    let breaks: [(&str, Break); 4] = [
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("too long", |path| fs::write(path, vec![b'x'; (1 << 20) + 1]).unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("a folder", |path| fs::create_dir(path).unwrap()),
    ];
    for (what, make) in breaks {
        make(&path);
        file.reread(Instant::now());
        assert_eq!(file.told.iter().map(|it| it.code.as_str()).collect::<Vec<_>>(), ["FileUnreadable"], "{what}");
        let good = file.good.as_ref().and_then(|good| plugin_file(&good.conf));
        assert_eq!(good, Some(&b"one"[..]), "{what}");
    }
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "two").unwrap();
    let batch = file.reread(Instant::now()).batch.unwrap();
    assert_eq!((plugin_file(conf(&batch).unwrap()), codes(&batch)), (Some(&b"two"[..]), vec![]));
}

#[test]
fn a_plugin_s_file_may_be_larger_by_choice() {
    for (max_size, length, expected) in [
        ("2MiB", 2 << 20, None),
        ("2MiB", (2 << 20) + 1, Some("more than 2097152 bytes")),
        ("65MiB", 1, Some("no size from `1B` to `64MiB`")),
        ("large", 1, Some("no size from")),
        ("0B", 1, Some("no size from")),
    ] {
        let text = format!("plugins: {{ p: {{ type: any, users: {{ file: users, maxSize: {max_size} }} }} }}\n");
        let (folder, mut file) = conf_file(&text);
        fs::write(folder.path().join("users"), vec![b'x'; length]).unwrap();
        let (settings, batch) = file.load().unwrap();
        assert_eq!(plugin_file(&settings.conf).map(<[u8]>::len), expected.is_none().then_some(length), "{max_size}");
        let told: Vec<&str> = batch.diagnostics.iter().map(|it| &*it.message).collect();
        assert_eq!(told.len(), usize::from(expected.is_some()), "{told:?}");
        assert!(expected.is_none_or(|expected| told[0].contains(expected)), "{told:?}");
    }
}

#[test]
fn the_zone_is_that_of_the_file_or_else_of_the_place() {
    let (folder, file) = conf_file(ROUTE);
    let mut file = file.in_zone(Some("here".to_owned()));
    let zone = |settings: &Settings| settings.conf.zone.clone();
    assert_eq!(zone(&file.load().unwrap().0).as_deref(), Some("here"));
    fs::write(folder.path().join("tidegate.yaml"), format!("zone: there\n{ROUTE}")).unwrap();
    assert_eq!(zone(&file.reread(Instant::now()).settings.unwrap()).as_deref(), Some("there"));
    fs::write(folder.path().join("tidegate.yaml"), ROUTE).unwrap();
    assert_eq!(zone(&file.reread(Instant::now()).settings.unwrap()).as_deref(), Some("here"));
}

#[test]
fn a_poll_reads_only_what_may_have_changed() {
    let (folder, mut file) = conf_file("upstreams: { u: { tls: { caFile: ca.pem } } }\n");
    let age = |name: &str, seconds: u64| {
        let written = SystemTime::now() - std::time::Duration::from_secs(seconds);
        File::options().write(true).open(folder.path().join(name)).unwrap().set_modified(written).unwrap();
    };
    fs::write(folder.path().join("ca.pem"), "one").unwrap();
    file.load().unwrap();
    let looks_same = |file: &mut ConfFile| {
        let is_same = file.is_same();
        file.stamps = file.stamps();
        is_same
    };
    assert!(!looks_same(&mut file), "nothing is known yet");
    assert!(!looks_same(&mut file), "what was written a moment ago may be written again in the same tick");
    age("tidegate.yaml", 60);
    age("ca.pem", 60);
    assert!(!looks_same(&mut file), "the times changed");
    assert!(looks_same(&mut file));
    age("ca.pem", 30);
    assert!(!looks_same(&mut file), "a file that the conf names");
    assert!(looks_same(&mut file));
    fs::remove_file(folder.path().join("ca.pem")).unwrap();
    assert!(!looks_same(&mut file), "a file that is gone");
}
