//! Compiles every .proto of the package without `protoc`, which a fresh machine lacks.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=arbiter/v1");
    let files = protos(&root.join("arbiter/v1"))?;
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("arbiter.v1.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let mut builder = tonic_prost_build::configure().bytes(".arbiter.v1").btree_map(".arbiter.v1");
    for name in printed(&descriptors) {
        builder = builder.message_attribute(name, "#[derive(::serde::Serialize)]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// Messages that agents tell and operators read too.
const READ_TOO: [&str; 5] =
    ["Loss", "LostTransaction", "LateObjects", "LateObject", "StreamPosition"];

/// Messages that carry a file, and are never printed.
const FILES: [&str; 2] = ["RestoreRequest", "BackupResponse"];

/// The messages that `--json` prints: those of the operators' services.
fn printed(descriptors: &prost_types::FileDescriptorSet) -> Vec<String> {
    let files = descriptors
        .file
        .iter()
        .filter(|file| ["arbiter/v1/query.proto", "arbiter/v1/admin.proto"].contains(&file.name()));
    let names = files.flat_map(|file| &file.message_type).map(|message| message.name());
    let names = names.filter(|name| !FILES.contains(name));
    names.chain(READ_TOO).map(|name| format!(".arbiter.v1.{name}")).collect()
}

/// Every .proto in `folder`, in a fixed order.
fn protos(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
