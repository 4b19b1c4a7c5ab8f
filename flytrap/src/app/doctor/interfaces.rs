//! The interfaces: whether each can have the program, in which mode, and what has it now.

use std::io;

use super::{Check, Question, State};
use crate::app::xdp::mode_name;
use crate::config::{Config, XdpMode};
use crate::kernel::{self, AttachedMode, AttachedProgram, InterfaceState, KernelError};

const INTERFACE: Question = Question::new(
    "interface",
    "packets are judged where the program is attached: in native mode before the kernel allocates \
     anything, in generic mode at several times the cost",
);
const NATIVE: &str = "set mode = \"native\" or \"auto\" in [xdp]";

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let privileged = kernel::privileged().is_ok();
    let check = |name: &String| {
        let check = match kernel::interface(name, &config.xdp.pin_dir) {
            Ok(found) => judge(name, config.xdp.mode, found, privileged),
            Err(error) => INTERFACE.kernel(&error),
        };
        check.of(name)
    };
    config.xdp.interfaces.iter().map(check).collect()
}

fn judge(name: &str, mode: XdpMode, found: InterfaceState, privileged: bool) -> Check {
    match found.program {
        Some(program) if program.ours => ours(mode, &program),
        Some(AttachedProgram { id, .. }) if !privileged => INTERFACE.warn(
            format_args!("it has program {id}, and only root sees whose that is"),
            "run as root",
        ),
        Some(program) => INTERFACE.kernel(&KernelError::InterfaceTaken {
            interface: program.interface,
            program_id: program.id,
            program_name: program.name,
        }),
        None => free(name, mode, found.native),
    }
}

fn ours(mode: XdpMode, program: &AttachedProgram) -> Check {
    let AttachedProgram { id, mode: is, .. } = program;
    let found = format!("FlyTrap's program {id} is attached, {}", mode_name(*is));
    match (mode, is) {
        (XdpMode::Native, AttachedMode::Generic) | (XdpMode::Generic, AttachedMode::Native) => {
            INTERFACE.warn(
                format_args!("{found}, and the configuration says otherwise"),
                "restart flytrap: it attaches in the configured mode",
            )
        }
        _ => INTERFACE.ok(found),
    }
}

fn free(name: &str, mode: XdpMode, native: Option<bool>) -> Check {
    let (state, found, fix) = match (mode, native) {
        (XdpMode::Native, Some(false)) => {
            return INTERFACE.kernel(&KernelError::NativeUnsupported {
                interface: name.to_owned(),
                source: io::ErrorKind::Unsupported.into(),
            });
        }
        (XdpMode::Auto, Some(false)) => (
            State::Warn,
            "free; its driver has no native mode, so it will be generic",
            "use a network card whose driver has native XDP, if floods are to be held off",
        ),
        (XdpMode::Generic, Some(true)) => (
            State::Warn,
            "free; its driver has native mode, and the configuration says generic",
            NATIVE,
        ),
        (XdpMode::Generic, _) => (State::Ok, "free; generic mode works with every driver", ""),
        (_, Some(true)) => (State::Ok, "free; its driver has native mode", ""),
        (_, None) => (
            State::Ok,
            "free; whether its driver has native mode shows when it is attached",
            "",
        ),
    };
    INTERFACE.answer(state, found, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(ours: bool, mode: AttachedMode) -> AttachedProgram {
        AttachedProgram {
            interface: "eth0".to_owned(),
            mode,
            id: 7,
            name: "other".to_owned(),
            ours,
        }
    }

    #[test]
    fn what_an_interface_has_or_cannot_have() {
        use AttachedMode::{Generic, Native};
        let judged = |mode, program, native, privileged| {
            let state = InterfaceState { program, native };
            judge("eth0", mode, state, privileged)
        };
        for (mode, program, native, state) in [
            (XdpMode::Native, None, Some(true), State::Ok),
            (XdpMode::Native, None, None, State::Ok),
            (XdpMode::Native, None, Some(false), State::Fail),
            (XdpMode::Auto, None, Some(false), State::Warn),
            (XdpMode::Auto, None, Some(true), State::Ok),
            (XdpMode::Generic, None, Some(true), State::Warn),
            (XdpMode::Generic, None, Some(false), State::Ok),
            (
                XdpMode::Native,
                Some(program(true, Native)),
                None,
                State::Ok,
            ),
            (
                XdpMode::Native,
                Some(program(true, Generic)),
                None,
                State::Warn,
            ),
            (XdpMode::Auto, Some(program(true, Generic)), None, State::Ok),
            (
                XdpMode::Native,
                Some(program(false, Native)),
                None,
                State::Fail,
            ),
        ] {
            let check = judged(mode, program.clone(), native, true);
            assert_eq!(check.state, state, "{mode:?} {program:?} {native:?}");
            assert_eq!(check.fix.is_some(), state != State::Ok, "{check:?}");
        }
        let unknown = judged(XdpMode::Native, Some(program(false, Native)), None, false);
        assert_eq!(unknown.state, State::Warn);
        let foreign = judged(XdpMode::Native, Some(program(false, Native)), None, true);
        assert!(foreign.found.contains("id 7, `other`"), "{foreign:?}");
    }
}
