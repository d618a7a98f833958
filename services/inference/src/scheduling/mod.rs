//! Who computes what, when: how long runs take on this machine (`curve`, measured at load by `measure`), which waiting
//! texts a free thread takes and how (`decide`), and whose turn it is where several models share the threads (`fair`).
//!
//! Curve, decision and fairness are pure; time and load come in as values.

mod curve;
mod decide;
mod fair;
mod measure;

pub(crate) use curve::{Pace, Point};
pub(crate) use decide::{Decision, Load, Waiting, decide};
pub(crate) use fair::{Fair, Turn};
pub(crate) use measure::{Curves, Likeness, pace};
