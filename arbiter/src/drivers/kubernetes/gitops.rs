//! Objects that a GitOps tool keeps as a repository says, and so would undo what is scaled here.
//!
//! Knows the marks that the tools leave. Never asks a tool: whether it leaves a field alone is the
//! operator's word (`gitops = "ignored"`).

use super::objects::annotation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Who keeps an object, and what they must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The tool, and its object.
    pub name: String,
    tool: Tool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    ArgoCd,
    Flux,
}

/// Annotation and label of Argo CD ("Resource Tracking"). Its oldest mark, the label
/// `app.kubernetes.io/instance`, is Helm's too, and says nothing.
const ARGO_TRACKING: &str = "argocd.argoproj.io/tracking-id";
const ARGO_INSTANCE: &str = "argocd.argoproj.io/instance";
/// Labels of Flux's two controllers that apply.
const FLUX_KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/name";
const FLUX_HELM: &str = "helm.toolkit.fluxcd.io/name";
/// With the value `disabled`, Flux leaves the object alone.
const FLUX_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";

/// Who keeps the object of `meta`.
pub fn keeper(meta: &ObjectMeta) -> Option<Keeper> {
    let label = |key: &str| meta.labels.as_ref()?.get(key).map(String::as_str);
    let either = |key: &str| label(key).or_else(|| annotation(meta, key));
    if let Some(id) = annotation(meta, ARGO_TRACKING).or_else(|| either(ARGO_INSTANCE)) {
        let application = id.split(':').next().unwrap_or(id);
        return Some(Keeper {
            name: format!("Argo CD application {application}"),
            tool: Tool::ArgoCd,
        });
    }
    if annotation(meta, FLUX_RECONCILE) == Some("disabled") {
        return None;
    }
    let kustomization = label(FLUX_KUSTOMIZE).map(|name| format!("Flux Kustomization {name}"));
    let release = || label(FLUX_HELM).map(|name| format!("Flux HelmRelease {name}"));
    kustomization.or_else(release).map(|name| Keeper { name, tool: Tool::Flux })
}

impl Keeper {
    /// The fault: `field` of `what` would be put back.
    pub fn fault(&self, what: &str, field: &str) -> String {
        let remedy = match self.tool {
            Tool::ArgoCd => format!(
                "add {field} to its ignoreDifferences, with the sync option \
                 RespectIgnoreDifferences=true"
            ),
            Tool::Flux => format!("leave {field} out of what it applies"),
        };
        format!(
            "{what} is kept by {}, which would undo what the arbiter does to {field}: {remedy}, \
             then set gitops = \"ignored\"",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn kept(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Option<String> {
        let map = |pairs: &[(&str, &str)]| -> Option<BTreeMap<String, String>> {
            Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let (labels, annotations) = (map(labels), map(annotations));
        keeper(&ObjectMeta { labels, annotations, ..ObjectMeta::default() }).map(|k| k.name)
    }

    #[test]
    fn a_keeper_is_known_by_its_mark() {
        let argo = Some("Argo CD application shop".to_owned());
        assert_eq!(kept(&[], &[(ARGO_TRACKING, "shop:apps/Deployment:shop/web")]), argo);
        assert_eq!(kept(&[(ARGO_INSTANCE, "shop")], &[]), argo);
        assert_eq!(kept(&[], &[(ARGO_INSTANCE, "shop")]), argo);
        let flux = [(FLUX_KUSTOMIZE, "apps")];
        assert_eq!(kept(&flux, &[]), Some("Flux Kustomization apps".to_owned()));
        assert_eq!(kept(&flux, &[(FLUX_RECONCILE, "disabled")]), None);
        assert_eq!(kept(&[(FLUX_HELM, "web")], &[]), Some("Flux HelmRelease web".to_owned()));
        assert_eq!(kept(&[("app.kubernetes.io/instance", "web")], &[]), None, "Helm's too");
    }

    #[test]
    fn the_remedy_names_the_field() {
        let argo = ObjectMeta {
            labels: Some([(ARGO_INSTANCE.to_owned(), "shop".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let said = keeper(&argo).unwrap().fault("Deployment web", "spec.replicas");
        assert!(said.contains("spec.replicas to its ignoreDifferences"), "{said}");
        assert!(said.contains("gitops = \"ignored\""), "{said}");
    }
}
