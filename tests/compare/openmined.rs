//! OpenMined's PSI, both sides in one process: it has no transport of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{Cost, watch};

/// A Python with OpenMined's PSI.
pub struct OpenMined {
    python: PathBuf,
}

impl OpenMined {
    /// In `COUNTERFOIL_SPU_PYTHON`, or `None` with the reason printed.
    pub fn find() -> Option<Self> {
        let python = PathBuf::from(std::env::var_os("COUNTERFOIL_SPU_PYTHON")?);
        let found = Command::new(&python)
            .args(["-c", "import private_set_intersection.python"])
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            println!(
                "OpenMined's PSI is left out: `{}` cannot import it (pip install openmined-psi)",
                python.display()
            );
            return None;
        }
        Some(Self { python })
    }

    pub fn run(&self, ours: &Path, theirs: &Path, out: &Path) -> Cost {
        let both = Command::new(&self.python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/openmined_sides.py"))
            .args([ours, theirs, out])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        watch(&[], vec![both])
    }
}
