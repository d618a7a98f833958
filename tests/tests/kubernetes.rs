//! What `kubectl kustomize` makes of `k8s/` is valid, and keeps to what is promised of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const OVERLAYS: [&str; 2] = ["k8s/base", "k8s/overlays/gpu"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .with_context(|| format!("{program} cannot be started: `cargo xtask setup` installs it"))?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{program} {arguments:?}:\n{said}{errors}");
    Ok(said)
}

/// The objects of an overlay.
fn objects(overlay: &str) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, output("kubectl", &["kustomize", overlay])?)?;
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let path = file.to_str().context("a path in UTF-8")?;
    Ok(serde_json::from_str(&output("python3", &["-c", script, path])?)?)
}

/// (kind and name, pod) of everything that runs pods.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let name = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
    };
    let pods = objects.iter().map(|object| (name(object), &object["spec"]["template"]["spec"]));
    pods.filter(|(_, pod)| pod.is_object()).collect()
}

/// All containers of a pod, those that run first included.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array()).flatten()
}

#[test]
fn every_object_is_valid_for_the_oldest_and_the_newest_kubernetes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for overlay in OVERLAYS {
        let file = folder.path().join("objects.yaml");
        std::fs::write(&file, output("kubectl", &["kustomize", overlay])?)?;
        let path = file.to_str().context("a path in UTF-8")?;
        for version in ["1.25", "1.37"] {
            output("kubernetes-validate", &["--strict", "-k", version, path])?;
        }
    }
    Ok(())
}

#[test]
fn nothing_runs_as_root_writes_its_image_or_takes_what_it_likes() -> Result<()> {
    for overlay in OVERLAYS {
        let objects = objects(overlay)?;
        let pods = pods(&objects);
        ensure!(pods.len() == 3, "inference, scheduler and trainer run pods, not {pods:?}");
        for (name, pod) in pods {
            ensure!(pod["securityContext"]["runAsNonRoot"] == true, "{name} may run as root");
            ensure!(
                pod["automountServiceAccountToken"] == false,
                "{name} gets a token that it does not need"
            );
            for container in containers(pod) {
                let security = &container["securityContext"];
                ensure!(security["readOnlyRootFilesystem"] == true, "{name} may write its image");
                ensure!(security["allowPrivilegeEscalation"] == false, "{name} may gain privileges");
                ensure!(security["capabilities"]["drop"][0] == "ALL", "{name} keeps capabilities");
                for amount in ["requests", "limits"] {
                    ensure!(
                        container["resources"][amount]["memory"].is_string(),
                        "{name} has no {amount} of memory"
                    );
                }
                let image = container["image"].as_str().unwrap_or_default();
                ensure!(
                    image.contains(':') && !image.ends_with(":latest"),
                    "{name} runs {image}, which may change"
                );
                if !name.starts_with("Job") {
                    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                        ensure!(container[probe].is_object(), "{name} has no {probe}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn all_share_one_home_on_one_node() -> Result<()> {
    let objects = objects("k8s/base")?;
    for (name, pod) in pods(&objects) {
        let volumes = pod["volumes"].as_array().context("volumes")?;
        let claims =
            volumes.iter().filter(|volume| volume["persistentVolumeClaim"]["claimName"] == "refit-home");
        ensure!(claims.count() == 1, "{name} does not mount the home");
        let beside = &pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        let anchor = name == "Deployment refit-inference";
        ensure!(
            anchor || beside["topologyKey"] == "kubernetes.io/hostname",
            "{name} may land on another node"
        );
    }
    Ok(())
}

#[test]
fn trainer_of_the_gpu_overlay_asks_for_one() -> Result<()> {
    let objects = objects("k8s/overlays/gpu")?;
    let pods = pods(&objects);
    let trainer = pods.iter().find(|(name, _)| name == "Job refit-trainer").context("no trainer")?.1;
    ensure!(trainer["initContainers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1, "{trainer}");
    Ok(())
}

#[test]
fn its_configuration_is_one_that_refit_accepts() -> Result<()> {
    let text = std::fs::read_to_string(root().join("k8s/base/refit.toml"))?;
    let spec = refit_spec::Spec::parse(&text, &root().join("k8s/base"))
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    ensure!(spec.model.name == "review-sentiment", "{}", spec.model.name);
    Ok(())
}
