// Package controllers is the shell of the operator: it composes the rooms into one reconcile loop per kind and turns outcomes into status, events and requeues.
package controllers
