//! Plugins of the conf on an Ingress.

use super::{Annotation, Refusal, Support};

pub(crate) const PLUGINS: Annotation = Annotation {
    name: "plugins",
    aliases: &[],
    grammar: "names of plugin instances of the conf, separated by commas",
    doc: "Plugins for the routes of the Ingress, in order within their stages. A name that the conf does not have closes the routes (503).",
    support: Support::Own,
    on_service: false,
    protects: true,
    read: |value, reading| {
        let names: Vec<&str> = value.text.split(',').map(str::trim).collect();
        if names.iter().any(|name| name.is_empty()) {
            // A name may be missing that was to protect the routes.
            reading.is_broken = true;
            return Err(Refusal("a name of the list is empty; the routes are closed".to_owned()));
        }
        reading.plugins = names.into_iter().map(|name| (name.to_owned(), value.origin.clone())).collect();
        Ok(())
    },
};
