//! Three arbiters in one process, asked over their real ports: who answers, who refuses and how,
//! what an agent's stream survives, and what no client can break.

#[path = "../support/alertmanager.rs"]
mod alertmanager;
mod alerts;
mod answers;
mod audit;
#[path = "../support/azure/mod.rs"]
mod azure;
mod events;
mod expiry;
mod guards;
mod hostile;
mod identities;
mod members;
mod permissions;
mod plaintext;
mod pull;
mod refusals;
mod secure;
mod sessions;
mod trio;
