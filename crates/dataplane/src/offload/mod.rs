//! Many packets of a flow as one, as the kernel hands them over and takes them:
//! cut into [`segment`]s outbound, [`coalesce`]d inbound.

pub(crate) mod coalesce;
pub(crate) mod segment;
