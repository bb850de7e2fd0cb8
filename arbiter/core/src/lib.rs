//! The pure core of the region arbiter: what is decided, and why it is safe.
//!
//! It knows lease, fence, plan and decision. It never knows a clock, a socket, a file, a database
//! or Raft: time is an argument, and data flows one way (`arbiter/docs/ARCHITECTURE.md`).
//!
//! Four functions are the whole of it: [`decide`] (leader only), [`apply`] (every replica),
//! [`orders`] (what an agent must make true) and [`explain`] (the predicates of `decide`, in
//! words).

#[macro_use]
pub mod plant;

pub mod agent;
mod apply;
mod approval;
pub mod audit;
mod command;
mod commits;
mod decide;
mod drill;
mod event;
mod explain;
mod external;
mod fence;
mod ids;
mod invariants;
pub mod leader;
mod leases;
mod loss;
mod message;
mod orders;
mod plan;
mod policy;
mod reason;
mod resource;
mod spec;
mod state;
pub mod steps;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod timing;
mod view;

pub use apply::*;
pub use approval::*;
pub use audit::{
    AUDIT_DONE, AUDIT_KEPT_MAX, AuditChain, AuditRecord, AuditTrail, ChainFault, Checked,
};
pub use command::*;
pub use commits::*;
pub use decide::*;
pub use drill::*;
pub use event::*;
pub use explain::*;
pub use external::{
    EXTERNAL_FENCE, external_fence_id, external_fence_wanted, external_fences_beside,
};
pub use fence::*;
pub use ids::*;
pub use invariants::*;
pub use leases::*;
pub use loss::*;
pub use message::*;
pub use orders::*;
pub use plan::*;
pub use policy::*;
pub use reason::*;
pub use resource::*;
pub use spec::zone_name;
pub use state::*;
pub use steps::{Actor, OnFailure, STEPS, Step, StepId};
pub use time::*;
pub use timing::*;
pub use view::*;
