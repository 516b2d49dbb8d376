//! Plugins of the conf on an Ingress.

use super::super::row::{Annotation, Support};
use super::super::security::Security;
use super::super::value::{FamilyAnnotations, Refusal};
use crate::translate::asked::Asked;
use crate::translate::asked::plugin::{PluginRequest, Wanted};

pub(crate) const TABLE: &[Annotation] = &[PLUGINS];

const PLUGINS: Annotation = Annotation {
    name: "plugins",
    aliases: &[],
    grammar: "names of plugin instances of the conf, separated by commas",
    doc: "Plugins for the routes of the Ingress, in order within their stages. An unknown name closes the routes (503).",
    support: Support::Own,
    on_service: false,
    security: Security::Always,
};

pub(crate) fn finish(given: FamilyAnnotations<'_>, asked: &mut Asked) {
    given.read(&PLUGINS, asked, |value, asked| {
        let names: Vec<&str> = value.text.split(',').map(str::trim).collect();
        if names.iter().any(|name| name.is_empty()) {
            // One may be missing that was to protect the routes.
            return Err(Refusal("a name of the list is empty".to_owned()));
        }
        let request =
            |name: &str| PluginRequest { plugin: Wanted::Named(name.to_owned()), origin: value.origin.clone() };
        asked.plugins.extend(names.into_iter().map(request));
        Ok(())
    });
}
