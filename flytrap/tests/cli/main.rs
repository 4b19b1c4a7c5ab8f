//! The `flytrap` command as a user meets it: arguments, messages, exit codes.
#![expect(clippy::unwrap_used, reason = "the helpers serve tests only")]

mod answers;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use flytrap::identity::create_keystore;

/// Runs `flytrap` without the variables that it reads.
fn flytrap(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flytrap"));
    command.args(arguments);
    for name in ["FLYTRAP_CONFIG", "FLYTRAP_SOCKET", "FLYTRAP_LOG_LEVEL"] {
        command.env_remove(name);
    }
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A configuration that holds, with `more` behind it.
fn configured(dir: &Path, more: &str) -> String {
    let file = dir.join("flytrap.toml");
    std::fs::write(dir.join("ledger.toml"), "").unwrap();
    std::fs::write(
        &file,
        format!(
            "[gateway]\ndomain = \"gw.example.org\"\n[[listener]]\nbind = \"127.0.0.1:1884\"\n\
             [upstream]\naddress = \"127.0.0.1:1883\"\n[ledger]\npath = \"ledger.toml\"\n{more}"
        ),
    )
    .unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn help_mentions_every_command() {
    let output = flytrap(&["--help"]);
    assert_eq!(code(&output), 0);
    for word in [
        "run",
        "check-config",
        "doctor",
        "status",
        "ban",
        "policy",
        "xdp",
        "observe",
        "token",
        "--output",
        "--socket",
    ] {
        assert!(stdout(&output).contains(word), "{word}");
    }
    for (noun, verbs) in [
        ("ban", &["list", "add", "lift"][..]),
        ("policy", &["check"]),
        ("token", &["create", "inspect"]),
        ("xdp", &["status", "attach", "detach", "counters"]),
    ] {
        let output = flytrap(&[noun, "--help"]);
        for verb in verbs {
            assert!(stdout(&output).contains(verb), "{noun} {verb}");
        }
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let wallet = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    for arguments in [
        &[][..],
        &["fly"],
        &["status", "now"],
        &["ban", "add", "192.0.2.1/24"],
        &["ban", "add", "::1", "--for", "1week"],
        &["ban", "add", "::1", "--for", "0s"],
        &["policy", "check", "--wallet", wallet],
        &["policy", "check", "--wallet", wallet, "--publish", "a/#"],
        &[
            "policy",
            "check",
            "--wallet",
            wallet,
            "--publish",
            "a",
            "--receive",
            "a",
        ],
        &["status", "-o", "yaml"],
        &["xdp", "attach"],
        &["doctor", "one.toml", "two.toml"],
        &["observe", "--count", "0"],
        &["observe", "--reason", "pass"],
    ] {
        let output = flytrap(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
    let meant = flytrap(&["ban", "add", "192.0.2.1/24"]);
    assert!(stderr(&meant).contains("write `192.0.2.0/24`"));
}

#[test]
fn a_missing_configuration_exits_with_78_and_helps() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    for command in [&["run", "--config"][..], &["check-config"]] {
        let mut arguments = command.to_vec();
        arguments.push(missing.to_str().unwrap());
        let output = flytrap(&arguments);
        assert_eq!(code(&output), 78);
        assert_eq!(
            stderr(&output),
            format!(
                "error: the configuration {} can't be read\n\
                 cause: No such file or directory (os error 2)\n\
                 help: name the file with --config FILE or FLYTRAP_CONFIG; \
                 docs/examples/flytrap.toml is one to start from\n",
                missing.display()
            )
        );
    }
}

#[test]
fn an_unknown_key_is_shown_in_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(dir.path(), "[limits]\nconections = 5\n");
    let output = flytrap(&["check-config", &file]);
    assert_eq!(code(&output), 78);
    assert_eq!(
        stderr(&output),
        format!(
            "error: the configuration {file} has a problem\n\
             cause: line 10, column 1: unknown key `conections` in [limits]\n    \
             10 | conections = 5\n       \
             | ^^^^^^^^^^\n    \
             help: did you mean `connections`?\n\
             help: docs/configuration.md lists every key with default and range\n"
        )
    );
}

#[test]
fn a_valid_configuration_is_said_to_be_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(dir.path(), "");
    let output = flytrap(&["check-config", &file]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with(&format!("{file} is valid\n")), "{text}");
    assert!(text.contains("warning: XDP is off"), "{text}");

    let effective = flytrap(&["check-config", "--print-effective", &file]);
    let again = configured(dir.path(), "");
    std::fs::write(&again, effective.stdout).unwrap();
    assert_eq!(code(&flytrap(&["check-config", &again])), 0);

    let by_variable = command(&["check-config"])
        .env("FLYTRAP_CONFIG", &file)
        .output()
        .unwrap();
    assert_eq!(code(&by_variable), 0);
}

#[test]
fn what_keeps_a_ledger_from_being_used_is_told_by_check_config() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(dir.path(), "spaces = [\"plant\"]\n");
    let output = flytrap(&["check-config", &file]);
    assert_eq!(code(&output), 78);
    let text = stderr(&output);
    assert!(
        text.contains("\ncause: the ledger has no top-level topic space `plant`"),
        "{text}"
    );
    std::fs::write(dir.path().join("ledger.toml"), "x = 1\n").unwrap();
    let output = flytrap(&["check-config", &file]);
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("ledger.toml:1:1: unknown field `x`"));
}

/// The files of the listener are the gateway's, and need not be readable to make a token.
#[test]
fn a_token_goes_through_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let more = "[[listener]]\nbind = \"127.0.0.1:1885\"\n\
                tls = { certificate_file = \"none\", key_file = \"none\" }\n";
    let file = configured(dir.path(), more);
    let path = |name| dir.path().join(name).to_str().unwrap().to_owned();
    let (keystore, password) = (path("keystore.json"), path("password"));
    let wallet = create_keystore(keystore.as_ref(), "s3cret").unwrap();
    std::fs::write(&password, "s3cret\r\n").unwrap();
    let create = flytrap(&[
        "token",
        "create",
        "--keystore",
        &keystore,
        "--password-file",
        &password,
        "--config",
        &file,
        "--client-id",
        "probe",
        "-o",
        "json",
    ]);
    assert_eq!(code(&create), 0, "{}", stderr(&create));
    let created: serde_json::Value = serde_json::from_slice(&create.stdout).unwrap();

    let mut inspect = command(&[
        "token",
        "inspect",
        "--config",
        &file,
        "--client-id",
        "probe",
    ])
    .args(["--user-name", created["user_name"].as_str().unwrap()])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut stdin = inspect.stdin.take().unwrap();
    writeln!(stdin, "{}", created["password"].as_str().unwrap()).unwrap();
    drop(stdin);
    let output = inspect.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).contains(&format!("valid, by {wallet}")));
}

#[test]
fn json_is_for_programs_on_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(dir.path(), "");
    let output = flytrap(&["check-config", &file, "-o", "json"]);
    let checked: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked["valid"], true);

    let file = configured(dir.path(), "x = 1\n");
    let output = flytrap(&["-o", "json", "check-config", &file]);
    assert_eq!(code(&output), 78);
    let failure: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(failure["exit"], 78);
    assert!(
        failure["cause"]
            .as_str()
            .unwrap()
            .contains("unknown key `x`")
    );
}

#[test]
fn without_a_gateway_its_commands_exit_with_69() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let socket = socket.to_str().unwrap();
    for arguments in [
        &["status"][..],
        &["observe"],
        &["ban", "list"],
        &[
            "ban", "add", "::1", "--for", "10m", "--note", "x", "--force",
        ],
        &["ban", "lift", "::1"],
        &[
            "policy",
            "check",
            "--wallet",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "--subscribe",
            "$share/g/a/#",
        ],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--socket", socket]);
        let output = flytrap(&arguments);
        assert_eq!(code(&output), 69, "{arguments:?} {}", stderr(&output));
        let text = stderr(&output);
        assert!(
            text.starts_with(&format!("error: no gateway answers on {socket}\ncause: ")),
            "{text}"
        );
        assert!(text.contains("\nhelp: is `flytrap run` running"), "{text}");
    }
    let by_variable = command(&["status"]).env("FLYTRAP_SOCKET", socket).output();
    assert!(stderr(&by_variable.unwrap()).contains(socket));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = configured(dir.path(), "");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&["check-config", "--print-effective", &file])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(code(&output), 0);
}
