//! A drill of a plan: its machines one after the other, what is noted of it, and its alarm.

use std::path::Path;

use stillpoint_model::{DrillName, Error, Result};

use super::{Done, alarm, ground::Ground, notes::Notes, prepared::Prepared, run};
use crate::{
    interrupt::Interrupt,
    output,
    session::{Session, system},
};

/// One drill, and who hears of it.
pub struct Planned<'a> {
    pub plan: DrillName,
    pub notes: Notes,
    /// The vault that the plan is about, where its alarm is; none where that is lost.
    pub home: Option<&'a Session>,
    pub reports: &'a Path,
    pub tell: &'a dyn Fn(&Done),
}

impl Planned<'_> {
    /// Does it, and knows of it afterwards, unless the operator has given up. Where it could not be `prepared`, that is its end.
    pub async fn carry_out(
        mut self,
        prepared: Result<(&Prepared, &Ground), &Error>,
        interrupt: &mut Interrupt,
    ) -> Result<Vec<Done>> {
        let before = self.notes.clone();
        let (clock, _) = system();
        self.notes.begin(clock.now());
        self.notes.write(self.reports)?;
        let done = match prepared {
            Ok((prepared, ground)) => self.machines(prepared, ground, interrupt).await,
            Err(error) => Err(Error::new(error.kind(), error.one_line())),
        };
        if interrupt.heard() {
            return done;
        }
        self.notes.end(clock.now(), done.as_ref().err().map(Error::one_line));
        let noted = self.notes.write(self.reports);
        self.alarm(&before).await;
        noted.and(done)
    }

    async fn machines(&mut self, prepared: &Prepared, ground: &Ground, interrupt: &mut Interrupt) -> Result<Vec<Done>> {
        self.notes.keep(&prepared.all);
        let mut all = Vec::new();
        for machine in &prepared.machines {
            let done = run::one(&prepared.session, &prepared.drill, machine, ground, interrupt).await?;
            self.notes.add(&done);
            (self.tell)(&done);
            all.push(done);
        }
        Ok(all)
    }

    /// A drill is what it is, whether anybody can be told or not.
    async fn alarm(&self, before: &Notes) {
        let Some(home) = self.home else { return };
        if let Err(error) = alarm::settle(home, &self.plan, before, &self.notes).await {
            output::complain(&format!("warning: the alarm of drill {} was not settled: {}", self.plan, error.one_line()));
        }
    }
}
