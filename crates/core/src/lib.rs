//! Every decision of offpeak, without I/O: prices and bills, the plan of a workload, the machine of
//! a job. Clock and dice are arguments; drivers elsewhere do what is decided here.

pub mod gate;
pub mod job;
pub mod plan;
pub mod price;
pub mod reconcile;
pub mod units;
