//! `counterfoil doctor`

use std::path::Path;

use counterfoil_party::clock::Clock;
use counterfoil_party::doctor::{self, Health};

use crate::failure::Failure;
use crate::ui::Ui;

pub(crate) async fn run(home: &Path, ui: Ui) -> Result<(), Failure> {
    let checks = doctor::run(home, Clock::system()).await;
    ui.result(&checks, || {
        let mut text = String::new();
        for check in &checks {
            let mark = match check.health {
                Health::Ok => "ok     ",
                Health::Warning => "warning",
                Health::Failed => "FAILED ",
            };
            text += &format!("{mark}  {}: {}\n", check.name, check.detail);
            if !check.advice.is_empty() {
                text += &format!("         -> {}\n", check.advice);
            }
        }
        text
    })?;
    let failed = checks
        .iter()
        .filter(|check| check.health == Health::Failed)
        .count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new("doctor", 7, format!("{failed} checks failed")).after_result())
}
