//! SecretFlow's SPU, a bare match of two files: no broker, no agreement, no log, no sealed rows.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use counterfoil_tests::world::free_address;

use crate::measure::{Cost, watch};

/// A Python with SPU.
pub struct Spu {
    python: PathBuf,
}

impl Spu {
    /// `COUNTERFOIL_SPU_PYTHON`, or `None` with the reason printed.
    pub fn find() -> Option<Self> {
        let Some(python) = std::env::var_os("COUNTERFOIL_SPU_PYTHON").map(PathBuf::from) else {
            println!(
                "SPU is left out: name a Python 3.11 that has it (pip install spu==0.9.5) in COUNTERFOIL_SPU_PYTHON"
            );
            return None;
        };
        let found = Command::new(&python)
            .args(["-c", "import spu"])
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            println!("SPU is left out: `{}` cannot import it", python.display());
            return None;
        }
        Some(Self { python })
    }

    /// `protocol` is `RR22` or `ECDH`; rank 0 gets the match.
    pub fn run(&self, protocol: &str, ours: &Path, theirs: &Path, out: &Path) -> Cost {
        let addresses = [free_address(), free_address()];
        let side = |rank: &str, source: &Path, out: &Path| -> Child {
            Command::new(&self.python)
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/spu_side.py"))
                .args(["--rank", rank, "--protocol", protocol, "--addresses"])
                .args(&addresses)
                .arg("--source")
                .arg(source)
                .arg("--out")
                .arg(out)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let receiver = side("0", ours, out);
        let helper = side("1", theirs, &out.with_extension("helper"));
        watch(&[], vec![receiver, helper])
    }
}
