//! The protocol, model-checked: lease, fence, evidence, plan and tokens under every order of
//! messages, faults and steps of time that a stated bound holds.
//!
//! The machines are `arbiter-core`'s own: `apply` and the leader's seat with `decide`, the agent
//! with its executor and lease, the deadman. Faked are clocks (bounded drift), the network (lost,
//! doubled and overtaken messages), Raft (one linearizable register, terms and deposed leaders),
//! disks, servers and the zone. The simulator draws what happens; here all of it happens.

mod agent;
pub mod check;
mod checked;
mod cluster;
mod host;
mod invariants;
mod leader;
pub mod scope;
mod shared;
mod world;

pub use checked::Checked;
