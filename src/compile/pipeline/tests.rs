use super::*;
use crate::origin::Origin;
use serde_json::{Value, json};
use tidegate_plugin::{Choice, Define, Plugin, RouteContext, Stage, define, plugin};

struct Noop;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Config {
    #[expect(dead_code, reason = "only its type matters")]
    size: Option<u32>,
}

#[plugin]
impl Plugin for Noop {}

impl Define for Noop {
    const NAME: &'static str = "noop";
    const STAGE: Stage = Stage::Limit;
    const STAGES: &'static [Stage] = &[Stage::Access, Stage::Limit];
    type Config = Config;

    fn build(_: Config, cx: &BuildContext<'_>) -> Result<Self, BuildError> {
        cx.warn("size", format!("{} {} {}", cx.origin, cx.origin.field, cx.namespace));
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

#[test]
fn a_field_that_the_type_does_not_have_is_refused_with_the_nearest_name() {
    let errors = instances().build(&[used("noop", json!({"sise": 1}))]).unwrap_err();
    assert_eq!((errors[0].code.as_str(), &*errors[0].origin.field), ("PluginConfigInvalid", "plugins.one.sise"));
    assert!(errors[0].message.contains("there is no field `sise`"), "{errors:?}");
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `size`?"));
    let errors = instances().build(&[used("noop", json!({"whatever": 1}))]).unwrap_err();
    assert_eq!(errors[0].hint.as_deref(), Some("there are size"));
    let errors = instances().build(&[used("noop", json!({"mod": "report"}))]).unwrap_err();
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `mode`?"));
}

#[test]
fn an_instance_may_choose_a_stage_that_its_plugin_allows() {
    let stage = |stage: &str| {
        let chain = instances().build(&[used("noop", json!({"stage": stage}))])?;
        Ok::<_, Vec<Diagnostic>>(chain.instances()[0].stage)
    };
    assert_eq!(stage("access").unwrap(), Stage::Access);
    for refused in ["route", "acces", ""] {
        let errors = stage(refused).unwrap_err();
        assert_eq!(&*errors[0].origin.field, "plugins.one.stage");
        assert!(errors[0].message.contains("`access` or `limit`"), "{errors:?}");
    }
}

#[test]
fn an_instance_knows_where_it_is_defined() {
    let chain = instances().build(&[used("noop", json!({}))]).unwrap();
    let told = &chain.instances()[0].findings[0].message;
    assert!(told.ends_with("Conf/tidegate.yaml plugins.one "), "{told}");
}

struct Steer;

#[plugin]
impl Plugin for Steer {
    fn upstreams(&self) -> Vec<Arc<str>> {
        vec!["there".into(), "missing".into()]
    }

    fn on_route(&self, _: &mut RouteContext<'_>) -> Choice {
        Choice::Pass
    }
}

impl Define for Steer {
    const NAME: &'static str = "steer";
    const STAGE: Stage = Stage::Route;
    type Config = Config;

    fn build(_: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[test]
fn an_upstream_that_a_plugin_may_choose_and_nobody_has_is_told_while_the_instance_lives() {
    let mut instances = Instances::new(vec![define::<Steer>()], PathBuf::from("conf"));
    let chain = instances.build(&[used("steer", json!({}))]).unwrap();
    let has = |id: &BackendId| *id == BackendId::upstream("there");
    let told = instances.missing_upstreams(has);
    assert_eq!((told.len(), told[0].code.as_str()), (1, "PluginUpstreamNotFound"));
    assert!(told[0].message.contains("`missing`"), "{told:?}");
    drop(chain);
    instances.sweep();
    assert!(instances.missing_upstreams(has).is_empty());
}
