//! The binary runs. Its being here also makes `cargo test --workspace` build the binary, which `tests/` then uses.

use std::process::Command;

#[test]
fn help_says_how_commands_end() {
    let help = Command::new(env!("CARGO_BIN_EXE_counterfoil"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("Exit codes:"), "{text}");
    let wrong = Command::new(env!("CARGO_BIN_EXE_counterfoil"))
        .arg("no-such-command")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
