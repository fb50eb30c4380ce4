// Package bench measures the operator against what the same work costs without it, and against its targets.
//
// Every figure is a count, a ratio inside one run, or an absolute of this machine that is named so. Alternatives are measured in
// turn (A B A B …) and medians are quoted, so that a machine which grows slower or faster meanwhile does not decide. Requests are
// counted in the audit log of the API server, CPU time and memory are the kernel's account of the operator's process.
package bench
