//! Three arbiters in one process, asked over their real ports: who answers, who refuses and how,
//! what an agent's stream survives, and what no client can break.

mod answers;
mod events;
mod hostile;
mod plaintext;
mod refusals;
mod sessions;
mod trio;
