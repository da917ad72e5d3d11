//! Many packets of a flow as one, as the kernel hands them over and takes them: cut into
//! [`segment`]s on the way out, [`coalesce`]d on the way in.

pub(crate) mod coalesce;
pub(crate) mod segment;
