//! The manifests in kubernetes/: their form, what they promise of each program, and what they share
//! with compose.yaml. Nothing here runs them.

use crate::support::environment::ROOT;
use crate::support::images::texts;
use crate::support::process::Folder;
use crate::support::yaml;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn manifests_are_valid_by_the_schemas_of_kubernetes() {
    let files = files();
    assert!(files.len() > 4, "{files:?}");
    validate(&files);
    // Each file of a folder is in its kustomization.
    for file in &files {
        let folder = file.parent().unwrap();
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_listed = files.contains(&entry) || entry.ends_with("kustomization.yaml");
            assert!(is_listed, "{} is in no kustomization", entry.display());
        }
    }
    let folder = Folder::new();
    let output = Command::new("kubectl").args(["kustomize", OVERLAY]).current_dir(ROOT).output();
    let Ok(output) = output else {
        return println!("kubectl is not installed; the overlay was not rendered");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = folder.write("rendered.yaml", &String::from_utf8(output.stdout).unwrap());
    validate(std::slice::from_ref(&rendered));
    assert_eq!(yaml::documents(&rendered).len(), documents().len());
}

#[test]
fn each_program_is_hardened_probed_and_kept_available() {
    let documents = documents();
    let of_kind = |kind: &str| {
        documents.iter().filter(|document| document["kind"] == kind).collect::<Vec<_>>()
    };
    let deployments = of_kind("Deployment");
    let names: Vec<&str> = deployments.iter().map(|deployment| name(deployment)).collect();
    assert_eq!(names, ["portcullis-auth", "portcullis-redis-gateway", "portcullis-edge"]);
    for deployment in deployments {
        let (name, spec) = (name(deployment), &deployment["spec"]);
        let (selector, pod) = (&spec["selector"]["matchLabels"], &spec["template"]["spec"]);
        assert!(spec["replicas"].as_u64().unwrap() >= 2, "{name}");
        let labels = &spec["template"]["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/part-of"], "portcullis");
        assert_eq!(*selector, json!({ "app.kubernetes.io/name": name }));
        assert_eq!(labels["app.kubernetes.io/name"], *name);
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(65532), &json!(65532)));
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for container in lists(pod, &["containers", "initContainers"]) {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(texts(&context["capabilities"]["drop"]), ["ALL"], "{name}");
            for (kind, resource) in [
                ("requests", "cpu"),
                ("requests", "memory"),
                ("limits", "cpu"),
                ("limits", "memory"),
            ] {
                assert!(container["resources"][kind][resource].is_string(), "{name}: {resource}");
            }
            let image = container["image"].as_str().unwrap();
            assert_eq!(image, format!("{name}:{}", env!("CARGO_PKG_VERSION")));
            // Each value that is a secret is a reference.
            for variable in container["env"].as_array().into_iter().flatten() {
                let is_reference = variable["valueFrom"]["secretKeyRef"].is_object();
                assert!(is_reference || variable["name"] == "GATEWAY_TOKENS_FILE", "{variable}");
            }
        }
        let container = &pod["containers"][0];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(container[probe]["periodSeconds"].is_u64(), "{name}: {probe}");
        }
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        // The longest drain is the redis gateway's.
        let drain = if name == "portcullis-redis-gateway" { 20 } else { 15 };
        assert!(grace > pause + drain, "{name}: {grace}");

        let budgets = of_kind("PodDisruptionBudget");
        let budget = budgets.iter().find(|budget| budget["metadata"]["name"] == *name).unwrap();
        assert_eq!(budget["spec"]["selector"]["matchLabels"], *selector, "{name}");
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{name}");
        let policies = of_kind("NetworkPolicy");
        let policy = policies.iter().find(|policy| policy["metadata"]["name"] == *name).unwrap();
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], *selector, "{name}");
        assert_eq!(texts(&policy["spec"]["policyTypes"]), ["Ingress", "Egress"], "{name}");
        let services = of_kind("Service");
        let service = services.iter().find(|service| service["metadata"]["name"] == *name).unwrap();
        assert_eq!(service["spec"]["selector"], *selector, "{name}");
        // The service's port is the container's, and the policy and the Dockerfile have it.
        let port = &container["ports"][0];
        assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"], "{name}");
        assert_eq!(service["spec"]["ports"][0]["port"], port["containerPort"], "{name}");
        assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], port["containerPort"]);
        let dockerfile = format!("images/{}.Dockerfile", name.trim_start_matches("portcullis-"));
        let dockerfile = std::fs::read_to_string(Path::new(ROOT).join(dockerfile)).unwrap();
        assert!(dockerfile.contains(&format!("EXPOSE {}", port["containerPort"])), "{name}");
    }
    assert!(of_kind("Secret").is_empty(), "secrets are made by hand");
}

/// What runs in compose.yaml gets the same variables, and the tests run it.
#[test]
fn programs_get_the_variables_that_they_get_from_the_compose_file() {
    let folder = Folder::new();
    let secrets = folder.file("secrets");
    let script = format!("{ROOT}/images/make-secrets.sh");
    assert!(Command::new(script).arg(&secrets).output().unwrap().status.success());
    let in_file = |name: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(secrets.join(name)).unwrap();
        text.lines().map(|line| line.split_once('=').unwrap().0.to_owned()).collect()
    };
    let compose = yaml::documents(&Path::new(ROOT).join("compose.yaml")).remove(0);
    let documents = documents();
    let config = |wanted: &str| -> BTreeSet<String> {
        let map = documents.iter().find(|d| d["kind"] == "ConfigMap" && name(d) == wanted).unwrap();
        map["data"].as_object().unwrap().keys().cloned().collect()
    };
    for deployment in documents.iter().filter(|document| document["kind"] == "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut given: BTreeSet<String> = BTreeSet::new();
        for source in container["envFrom"].as_array().unwrap() {
            if let Some(name) = source["configMapRef"]["name"].as_str() {
                given.extend(config(name));
            }
            if let Some(name) = source["secretRef"]["name"].as_str() {
                given.extend(in_file(&format!("{}.env", name.trim_start_matches("portcullis-"))));
            }
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            if let Some(secret) = reference["name"].as_str() {
                let file = format!("{}.env", secret.trim_start_matches("portcullis-"));
                assert!(in_file(&file).contains(reference["key"].as_str().unwrap()), "{file}");
                assert_eq!(reference["key"], variable["name"]);
            }
            given.insert(variable["name"].as_str().unwrap().to_owned());
        }
        let service = &compose["services"][name(deployment).trim_start_matches("portcullis-")];
        let mut expected: BTreeSet<String> = texts(&service["env_file"])
            .iter()
            .flat_map(|file| in_file(file.trim_start_matches(".secrets/")))
            .collect();
        let more = service["environment"].as_object().unwrap().keys().cloned();
        expected.extend(more);
        // Which a cluster's nodes need, because they have many cores.
        given.remove("GATEWAY_THREADS");
        assert_eq!(given, expected, "{}", name(deployment));
    }
    let edge = documents.iter().find(|d| d["kind"] == "Deployment" && name(d) == "portcullis-edge");
    let probe = &edge.unwrap()["spec"]["template"]["spec"]["containers"][0]["startupProbe"];
    let check = texts(&compose["services"]["edge"]["healthcheck"]["test"]);
    assert_eq!(texts(&probe["exec"]["command"]), check[1..]);
}

const OVERLAY: &str = "kubernetes/overlays/example";

fn validate(files: &[PathBuf]) {
    let mut validate = yaml::python("kubernetes-validate");
    let output = validate.arg("--strict").args(files).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("passed for resource deployment/portcullis-auth"), "{text}");
}

/// Returns all documents of the example's overlay.
fn documents() -> Vec<Value> {
    files().iter().flat_map(|file| yaml::documents(file)).collect()
}

/// Returns the files that the example's overlay lists, also by other folders.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&Path::new(ROOT).join(OVERLAY).canonicalize().unwrap(), &mut files);
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let kustomization = yaml::documents(&folder.join("kustomization.yaml")).remove(0);
    for resource in texts(&kustomization["resources"]) {
        let path = folder.join(&resource).canonicalize();
        let path = path.unwrap_or_else(|error| panic!("{resource}: {error}"));
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn lists<'v>(pod: &'v Value, members: &[&str]) -> Vec<&'v Value> {
    members.iter().flat_map(|member| pod[*member].as_array().into_iter().flatten()).collect()
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap()
}
