//! What users of pgai have, and what they bring along: the surface under its names, its defects,
//! its databases.

mod adoption;
mod defects;
mod grants;
mod import;
mod old;
mod queue_views;
mod surface;
