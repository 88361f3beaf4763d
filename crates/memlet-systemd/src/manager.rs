//! The conversation with systemd's manager.

use std::time::{Duration, Instant};

use rustbus::connection::Timeout;
use rustbus::connection::ll_conn::force_finish_on_error;
use rustbus::message_builder::{MarshalledMessage, MessageBuilder, MessageType};
use rustbus::wire::ObjectPath;
use rustbus::{RpcConn, standard_messages};

use crate::property::{Auxiliary, Property, Value, flag, text};
use crate::{Error, Memory, Result};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
/// An answer takes milliseconds; under emulation, and while the machine boots, seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection to systemd, that of the system.
pub struct Manager {
    bus: RpcConn,
}

/// A scope to be started.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Its name, which ends in `.scope`.
    pub name: &'a str,
    /// The slice in which it lies.
    pub slice: &'a str,
    /// For people: `systemctl status` shows it.
    pub description: &'a str,
    /// The process that it begins with. It lives as long as any process is in it.
    pub process: u32,
}

impl Manager {
    /// Connects to the system's bus.
    ///
    /// # Errors
    /// [`Error::Unreachable`]
    pub fn connect() -> Result<Self> {
        let bus = RpcConn::system_conn(Timeout::Duration(PATIENCE)).map_err(Error::Unreachable)?;
        let mut manager = Self { bus };
        // Without it systemd tells nobody how a job ended.
        manager.call("Subscribe", "", |_| Ok(()))?;
        let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
        let mut matched = standard_messages::add_match(&rule);
        manager.send("AddMatch", &mut matched, "")?;
        Ok(manager)
    }

    /// Starts a slice, or sets the memory of one that is there. Those above it are started with it.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::JobFailed`], [`Error::NoAnswer`]
    pub fn start_slice(&mut self, name: &str, description: &str, memory: Memory) -> Result<()> {
        let mut properties = vec![
            text("Description", description),
            flag("DefaultDependencies", false),
            flag("MemoryAccounting", true),
        ];
        properties.extend(memory.properties());
        match self.start(name, &properties) {
            Err(Error::Refused { name: error, .. }) if error.ends_with(".UnitExists") => {
                self.set_memory(name, memory)
            }
            started => started,
        }
    }

    /// Starts a scope around a process. What is below it is its starter's, not systemd's.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::JobFailed`], [`Error::NoAnswer`]
    pub fn start_scope(&mut self, scope: Scope<'_>) -> Result<()> {
        let properties = vec![
            text("Description", scope.description),
            text("Slice", scope.slice),
            flag("DefaultDependencies", false),
            flag("Delegate", true),
            flag("MemoryAccounting", true),
            text("CollectMode", "inactive-or-failed"),
            ("PIDs".to_owned(), Value::Pids(vec![scope.process])),
        ];
        self.start(scope.name, &properties)
    }

    /// Sets a unit's memory until it ends.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NoAnswer`]
    pub fn set_memory(&mut self, unit: &str, memory: Memory) -> Result<()> {
        let properties: Vec<Property> = memory.properties().collect();
        if properties.is_empty() {
            return Ok(());
        }
        // `true`: at run time only, not on disk.
        self.call("SetUnitProperties", unit, |call| call.body.push_param3(unit, true, &properties)).map(drop)
    }

    /// Ends a unit and kills what is in it. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::JobFailed`], [`Error::NoAnswer`]
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        match self.call("StopUnit", unit, |call| call.body.push_param2(unit, "replace")) {
            Ok(answer) => self.wait_for_job("StopUnit", unit, &answer),
            Err(Error::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn start(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        const METHOD: &str = "StartTransientUnit";
        let none: Vec<Auxiliary> = Vec::new();
        let answer =
            self.call(METHOD, unit, |call| call.body.push_param4(unit, "replace", properties, &none))?;
        self.wait_for_job(METHOD, unit, &answer)
    }

    /// Waits until systemd says how the job ended that it answered with.
    fn wait_for_job(&mut self, method: &'static str, unit: &str, answer: &MarshalledMessage) -> Result<()> {
        let job: ObjectPath<&str> = answer.body.parser().get().map_err(|error| strange(method, &error))?;
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let signal = self
                .bus
                .wait_signal(Timeout::Duration(left))
                .map_err(|source| Error::NoAnswer { method, source })?;
            if signal.dynheader.member.as_deref() != Some("JobRemoved") {
                continue;
            }
            let mut parser = signal.body.parser();
            let removed = parser.get4::<u32, ObjectPath<&str>, &str, &str>();
            let (_, removed, _, result) = removed.map_err(|error| strange(method, &error))?;
            if removed != job {
                continue;
            }
            return match result {
                "done" => Ok(()),
                result => Err(Error::JobFailed { unit: unit.to_owned(), result: result.to_owned() }),
            };
        }
    }

    /// Calls a method of the manager's with what `fill` puts into the call.
    fn call(
        &mut self,
        method: &'static str,
        unit: &str,
        fill: impl FnOnce(&mut MarshalledMessage) -> Result<(), rustbus::wire::errors::MarshalError>,
    ) -> Result<MarshalledMessage> {
        let mut call =
            MessageBuilder::new().call(method).on(OBJECT).with_interface(MANAGER).at(SYSTEMD).build();
        fill(&mut call).map_err(|error| strange(method, &error))?;
        self.send(method, &mut call, unit)
    }

    fn send(
        &mut self,
        method: &'static str,
        call: &mut MarshalledMessage,
        unit: &str,
    ) -> Result<MarshalledMessage> {
        let no_answer = |source| Error::NoAnswer { method, source };
        let serial = self
            .bus
            .send_message(call)
            .map_err(no_answer)?
            .write(Timeout::Duration(PATIENCE))
            .map_err(|error| no_answer(force_finish_on_error(error)))?;
        let answer = self.bus.wait_response(serial, Timeout::Duration(PATIENCE)).map_err(no_answer)?;
        if answer.typ != MessageType::Error {
            return Ok(answer);
        }
        let message = answer.body.parser().get::<String>().unwrap_or_default();
        let name = answer.dynheader.error_name.clone().unwrap_or_default();
        Err(Error::Refused { method, unit: unit.to_owned(), name, message })
    }
}

fn strange(method: &'static str, error: &impl std::fmt::Debug) -> Error {
    Error::Strange { method, reason: format!("{error:?}") }
}
