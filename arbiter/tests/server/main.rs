//! Three arbiters in one process, asked over their real ports: who answers, who refuses and how,
//! what an agent's stream survives, and what no client can break.

#[path = "../support/alertmanager.rs"]
mod alertmanager;
mod alerts;
mod answers;
#[path = "../support/azure/mod.rs"]
mod azure;
mod events;
mod hostile;
mod plaintext;
mod pull;
mod refusals;
mod sessions;
mod trio;
