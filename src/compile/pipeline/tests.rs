use super::*;
use crate::origin::Origin;
use serde_json::{Value, json};
use tidegate_plugin::{Define, Hooks, Plugin, Stage, define};

struct Noop;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    #[expect(dead_code, reason = "only its type matters")]
    size: Option<u32>,
}

impl Plugin for Noop {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }
}

impl Define for Noop {
    const NAME: &'static str = "noop";
    const STAGE: Stage = Stage::Limit;
    type Config = Config;

    fn build(_: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

fn used(kind: &str, config: Value) -> PluginUse {
    let origin = Origin::new("Conf", "", "tidegate.yaml", None).at("plugins.one");
    let instance = PluginInstance {
        name: "one".into(),
        kind: kind.into(),
        config,
        origin: origin.clone(),
        inputs: PluginInputs::default(),
    };
    PluginUse { instance: Arc::new(instance), origin }
}

fn instances() -> Instances {
    Instances::new(vec![define::<Noop>()], PathBuf::from("conf"))
}

#[test]
fn equal_uses_share_a_chain_and_state_lives_while_the_config_is_the_same() {
    let mut instances = instances();
    let first = instances.build(&[used("noop", json!({"size": 1}))]).unwrap();
    assert!(Arc::ptr_eq(&first, &instances.build(&[used("noop", json!({"size": 1}))]).unwrap()));
    let other = instances.build(&[used("noop", json!({"size": 2}))]).unwrap();
    assert!(!Arc::ptr_eq(&first.instances()[0], &other.instances()[0]));
    drop(first);
    instances.sweep();
    assert_eq!(instances.built.len(), 1, "the instance that a chain still has is kept");
}

#[test]
fn an_unknown_plugin_is_told_the_nearest_name() {
    let errors = instances().build(&[used("nop", json!({}))]).unwrap_err();
    assert_eq!(errors[0].code.as_str(), "PluginNotFound");
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `noop`?"));
}

#[test]
fn a_wrong_field_is_named_in_the_origin() {
    let errors = instances().build(&[used("noop", json!({"size": "big"}))]).unwrap_err();
    assert_eq!((errors[0].code.as_str(), &*errors[0].origin.field), ("PluginConfigInvalid", "plugins.one.size"));
}

#[test]
fn the_mode_is_read_before_the_plugin_sees_its_config() {
    let mut instances = instances();
    let chain = instances.build(&[used("noop", json!({"mode": "report"}))]).unwrap();
    assert_eq!(chain.instances()[0].mode, Mode::Report);
    let errors = instances.build(&[used("noop", json!({"mode": "maybe"}))]).unwrap_err();
    assert_eq!(&*errors[0].origin.field, "plugins.one.mode");
}
