use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::diagnostic::Severity;

fn object(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: {name} }}\nstringData: {{ x: '{value}' }}\n")
}

/// Events as `+name value` and `-name`, sorted.
fn told(batch: &Batch) -> Vec<String> {
    let mut told: Vec<String> = batch
        .events
        .iter()
        .map(|event| match event {
            Event::Apply(crate::resources::Object::Secret(secret)) => {
                let value = secret.object.get("x").map(|value| String::from_utf8_lossy(value)).unwrap_or_default();
                format!("+{} {value}", secret.origin.name)
            }
            Event::Apply(object) => format!("+{}", object.name()),
            Event::Delete(name) => format!("-{}", name.name.name),
        })
        .collect();
    told.sort();
    told
}

fn codes(batch: &Batch) -> Vec<&'static str> {
    batch.diagnostics.iter().map(|it| it.code.as_str()).collect()
}

struct Folder {
    folder: TempDir,
    files: Files,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Files::new(["manifests"], folder.path());
        let this = Self { folder, files: source };
        fs::create_dir(this.path("")).unwrap();
        files.iter().for_each(|(name, text)| this.write(name, text));
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("manifests").join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn load(&mut self) -> (Vec<String>, Vec<&'static str>) {
        let batch = self.files.load();
        (told(&batch), codes(&batch))
    }
}

/// Shorthand for an expected result.
fn expect(events: &[&str], codes: &[&'static str]) -> (Vec<String>, Vec<&'static str>) {
    (events.iter().map(|event| (*event).to_owned()).collect(), codes.to_vec())
}

#[test]
fn folders_are_read_with_their_subfolders_and_without_hidden_and_other_files() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1")), ("sub/deep/b.JSON", &object("b", "1"))]);
    it.write("c.yml", object("c", "1"));
    it.write(".hidden.yaml", object("x", "1"));
    it.write(".git/x.yaml", object("x", "1"));
    it.write("README.md", "x: [");
    symlink(it.path(""), it.path("loop")).unwrap();
    assert_eq!(it.load(), expect(&["+a 1", "+b 1", "+c 1"], &[]));
    assert!(it.files.is_complete);
}

#[test]
fn only_what_changed_is_told() {
    let mut it = Folder::new(&[("a.yaml", &format!("{}---\n{}", object("a", "1"), object("b", "1")))]);
    assert_eq!(it.load(), expect(&["+a 1", "+b 1"], &[]));
    assert_eq!(it.load(), expect(&[], &[]));
    it.write("a.yaml", format!("{}---\n{}", object("a", "1"), object("b", "2")));
    assert_eq!(it.load(), expect(&["+b 2"], &[]));
    it.write("a.yaml", format!("{}---\n{}# end", object("a", "1"), object("b", "2")));
    assert_eq!(it.load(), expect(&[], &[]));
    it.write("a.yaml", object("a", "1"));
    assert_eq!(it.load(), expect(&["-b"], &[]));
    fs::remove_file(it.path("a.yaml")).unwrap();
    assert_eq!(it.load(), expect(&["-a"], &[]));
}

#[test]
fn an_atomic_rename_is_seen() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    it.write(".tmp", object("a", "2"));
    fs::rename(it.path(".tmp"), it.path("a.yaml")).unwrap();
    assert_eq!(it.load(), expect(&["+a 2"], &[]));
}

#[test]
fn a_half_written_file_keeps_its_last_good_content_and_says_where_it_breaks() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    it.write("a.yaml", "apiVersion: v1\nkind: [");
    let batch = it.files.load();
    assert_eq!((told(&batch), codes(&batch)), expect(&[], &["InvalidYaml"]));
    assert!(batch.diagnostics[0].position.is_some());
    assert!(batch.diagnostics[0].message.ends_with("; its last good content is kept"), "{}", batch.diagnostics[0]);
    it.write("a.yaml", "");
    assert_eq!(it.load(), expect(&[], &["FileEmpty"]));
    it.write("a.yaml", object("a", "2"));
    assert_eq!(it.load(), expect(&["+a 2"], &[]));
}

#[test]
fn a_file_that_returns_to_its_last_good_content_is_no_longer_faulty() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    it.write("a.yaml", "kind: [");
    it.load();
    it.write("a.yaml", object("a", "1"));
    assert_eq!(it.load(), expect(&[], &[]));
}

#[test]
fn an_object_that_breaks_keeps_its_last_good_form() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    it.write("a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: { name: a }\nstringData: [x]\n");
    assert_eq!(it.load(), expect(&[], &["InvalidObject"]));
}

#[test]
fn a_dump_with_releases_of_helm_is_read_whatever_they_measure() {
    let release = |n: usize| {
        format!(
            "- {{ apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {{ name: r{n} }}, data: {{ release: {} }} }}\n",
            "aGVs".repeat(400_000)
        )
    };
    let text: String = (0..6).map(release).collect();
    let item = object("a", "1").trim_end().replace('\n', "\n  ");
    let mut it = Folder::new(&[("a.yaml", &format!("apiVersion: v1\nitems:\n{text}- {item}\nkind: List\n"))]);
    let (told, codes) = it.load();
    assert!(told.iter().any(|it| it == "+a 1") && codes.is_empty(), "{told:?} {codes:?}");
}

#[test]
fn what_cannot_be_text_is_refused_and_hurts_nothing_else() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.write("binary.yaml", b"a: \xff\xfe");
    it.write("huge.yaml", b"");
    let huge = std::fs::File::options().write(true).open(it.path("huge.yaml")).unwrap();
    huge.set_len((64 << 20) + 7).unwrap();
    let batch = it.files.load();
    assert_eq!((told(&batch), codes(&batch)), expect(&["+a 1"], &["InvalidYaml", "FileUnreadable"]));
    assert!(batch.diagnostics[0].message.contains("not UTF-8"), "{}", batch.diagnostics[0]);
    assert!(
        batch.diagnostics[1].message.contains("it has 67108871 bytes and 64 MiB are read"),
        "{}",
        batch.diagnostics[1]
    );
}

#[test]
fn of_duplicates_the_first_in_path_order_counts() {
    let mut it = Folder::new(&[("b.yaml", &object("a", "b")), ("a.yaml", &object("a", "a"))]);
    let batch = it.files.load();
    assert_eq!((told(&batch), codes(&batch)), expect(&["+a a"], &["DuplicateObject"]));
    assert!(batch.diagnostics[0].origin.place.as_ref().unwrap().file.ends_with("/b.yaml"));
    fs::remove_file(it.path("a.yaml")).unwrap();
    assert_eq!(it.load(), expect(&["+a b"], &[]));
}

#[test]
fn an_object_may_move_from_file_to_file() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    fs::rename(it.path("a.yaml"), it.path("z.yaml")).unwrap();
    assert_eq!(it.load(), expect(&["+a 1"], &[]));
}

#[test]
fn unknown_kinds_are_told_once() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: a }\n";
    let mut it = Folder::new(&[("a.yaml", text), ("b.yaml", text)]);
    let batch = it.files.load();
    assert_eq!((codes(&batch), batch.diagnostics[0].severity), (vec!["UnknownKind"], Severity::Info));
}

/// Lays a volume out as the kubelet does: `a.yaml -> ..data/a.yaml`, `..data -> ..N`.
fn config_map_volume(it: &Folder, generation: &str, text: &str) {
    it.write(&format!("..{generation}/a.yaml"), text);
    symlink(format!("..{generation}"), it.path("..data_tmp")).unwrap();
    fs::rename(it.path("..data_tmp"), it.path("..data")).unwrap();
}

#[test]
fn a_config_map_volume_is_read_once_and_its_swap_is_seen() {
    let mut it = Folder::new(&[]);
    config_map_volume(&it, "2026_1", &object("a", "1"));
    symlink("..data/a.yaml", it.path("a.yaml")).unwrap();
    assert_eq!(it.load(), expect(&["+a 1"], &[]));
    config_map_volume(&it, "2026_2", &object("a", "2"));
    fs::remove_dir_all(it.path("..2026_1")).unwrap();
    assert_eq!(it.load(), expect(&["+a 2"], &[]));
}

#[test]
fn a_path_that_vanishes_as_a_whole_keeps_its_last_good_content() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1")), ("sub/b.yaml", &object("b", "1"))]);
    it.load();
    fs::remove_dir_all(it.path("")).unwrap();
    assert_eq!(it.load(), expect(&[], &["SourceGone"]));
    it.write("a.yaml", object("a", "1"));
    assert_eq!(it.load(), expect(&["-b"], &[]));
}

#[test]
fn a_subfolder_that_is_deleted_takes_its_objects_along() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1")), ("sub/b.yaml", &object("b", "1"))]);
    it.load();
    fs::remove_dir_all(it.path("sub")).unwrap();
    assert_eq!(it.load(), expect(&["-b"], &[]));
}

#[test]
fn a_path_that_was_never_there_is_told_and_leaves_the_batch_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), object("a", "1")).unwrap();
    let mut files = Files::new(["a.yaml", "./missing"], folder.path());
    let batch = files.load();
    assert_eq!((told(&batch), codes(&batch)), expect(&["+a 1"], &["SourceGone"]));
    assert!(!batch.is_complete);
    fs::create_dir(folder.path().join("missing")).unwrap();
    assert!(files.load().is_complete);
}

#[test]
fn paths_that_are_left_out_take_their_objects_along() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join(format!("{name}.yaml")), object(name, "1")).unwrap();
    }
    let mut files = Files::new(["a.yaml", "missing"], folder.path());
    let batch = files.load();
    assert_eq!((told(&batch), codes(&batch)), expect(&["+a 1"], &["SourceGone"]));
    files.wanted().set(["b.yaml"], true);
    let batch = files.load();
    assert_eq!((told(&batch), codes(&batch)), expect(&["+b 1", "-a"], &[]));
}

#[test]
fn changes_that_are_not_followed_are_read_when_asked() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    it.files.wanted().set([it.path("")], false);
    let (sender, mut receiver) = mpsc::channel(4);
    let files = std::mem::replace(&mut it.files, Files::new([""; 0], Path::new(".")));
    it.write("a.yaml", object("a", "2"));
    let watching = files.watch(sender).unwrap();
    let mut next = || receiver.blocking_recv().map(|batch| (told(&batch), codes(&batch)));
    assert_eq!(next(), Some(expect(&["+a 2"], &[])), "what changed before the watch");
    it.write("a.yaml", object("a", "3"));
    it.write("a.yaml", object("a", "4"));
    watching.reload();
    assert_eq!(next(), Some(expect(&["+a 4"], &[])));
}

#[test]
fn real_world_files_are_read_without_errors() {
    let mut files = Files::new(["tests/data"], Path::new(env!("CARGO_MANIFEST_DIR")));
    let batch = files.load();
    let errors: Vec<_> = batch.diagnostics.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let ingresses = batch.events.iter().filter(|it| matches!(it, Event::Apply(crate::resources::Object::Ingress(_))));
    assert!(ingresses.count() >= 8 && batch.events.len() >= 40, "{} objects", batch.events.len());
    assert!(codes(&batch).contains(&"DeprecatedApiVersion") && codes(&batch).contains(&"UnknownKind"));
}

#[test]
fn changes_are_followed_until_the_watch_is_dropped() {
    let mut it = Folder::new(&[("a.yaml", &object("a", "1"))]);
    it.load();
    let (sender, mut receiver) = mpsc::channel(4);
    let files = std::mem::replace(&mut it.files, Files::new([""; 0], Path::new(".")));
    let watching = files.watch(sender).unwrap();
    let mut next = || receiver.blocking_recv().map(|batch| (told(&batch), codes(&batch)));

    it.write(".tmp", object("a", "2"));
    fs::rename(it.path(".tmp"), it.path("a.yaml")).unwrap();
    assert_eq!(next(), Some(expect(&["+a 2"], &[])));

    // A folder that is new, with a file in it, has no watch of its own yet.
    it.write("new/b.yaml", object("b", "1"));
    assert_eq!(next(), Some(expect(&["+b 1"], &[])));

    fs::rename(it.path(""), it.folder.path().join("away")).unwrap();
    assert_eq!(next(), Some(expect(&[], &["SourceGone"])));
    fs::rename(it.folder.path().join("away"), it.path("")).unwrap();
    assert_eq!(next(), Some(expect(&[], &[])));

    it.write("a.yaml", object("a", "3"));
    assert_eq!(next(), Some(expect(&["+a 3"], &[])));

    drop(watching);
    assert_eq!(next(), None);
}
