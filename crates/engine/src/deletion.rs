//! The last calls of a job: batches that are still to be deleted upstream, after the output is in its
//! place. While rows are under way the run itself deletes; what is left, or failed, is done here, by
//! this run or by the next one of the same job.
//!
//! Leaves out which batches those are and how often they are tried (the machine).

use offpeak_core::job::deletion::Deletions;
use offpeak_core::job::event::Event;
use tokio_util::sync::CancellationToken;

use crate::error::EngineError;
use crate::progress::Report;
use crate::run::Driver;
use crate::start::Job;

/// Deletes the batches of a job whose every row is settled, if the job asks for it, and says what
/// became of them. What cannot be deleted is no error.
///
/// # Errors
/// If something on our side fails: disk, store.
pub async fn delete_upstream(
    job: &Job,
    interrupt: CancellationToken,
    report: Report,
) -> Result<Option<Deletions>, EngineError> {
    if !job.settings.delete_upstream {
        return Ok(None);
    }
    let mut driver = Driver::start(job, report).await?;
    driver.machine.only_delete();
    let mut event = Event::Woke;
    loop {
        let now = driver.step(event).await?;
        if !driver.machine.deletes_more() {
            return Ok(Some(driver.machine.deletions(now)));
        }
        event = driver.next_event(now, &interrupt).await?;
    }
}
