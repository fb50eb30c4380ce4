package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
)

const (
	// goneTimeout bounds each wait for deleted objects to disappear.
	goneTimeout = 5 * time.Minute
	// lookEvery is how often an uninstall that waits looks at what keeps it.
	lookEvery = 15 * time.Second
	// lastLook is how long an uninstall that is given up may take to find out what is left.
	lastLook = 10 * time.Second
)

// uninstall is one attempt to remove what an instance installed: a straight line of steps, each of which can be done again.
type uninstall struct {
	*FluxInstanceReconciler

	instance *v1.FluxInstance
	status   *statusWriter
	watched  *Watched
	// dying is the namespace of Flux where that is being deleted as a whole: nothing in it may be held up.
	dying string
	// patience bounds the wait for what was deleted to disappear.
	patience time.Duration
	// note is added to every message: what the user should know besides.
	note string

	objects     []*unstructured.Unstructured
	definitions []string
	goes, stays []*unstructured.Unstructured
	leaving     []*unstructured.Unstructured
	// lost is how many definitions are gone or going that should stay.
	lost int

	// position says which step it is, in messages.
	position string
	// again tells whether the attempt before this one failed: what it said is left standing until there is something new to say.
	again bool
	// begun tells whether there was an attempt before this one, which may have had another policy to go by.
	begun bool
	told  time.Time
}

// step is one of the steps of an uninstall.
type step struct {
	doing string
	do    func(context.Context) error
}

func (r *FluxInstanceReconciler) newUninstall(instance *v1.FluxInstance, watched *Watched) *uninstall {
	again := says(instance, v1.ReasonUninstallFailed)
	return &uninstall{
		FluxInstanceReconciler: r, instance: instance, status: newStatusWriter(r.Client, instance), watched: watched,
		again: again, begun: again || says(instance, v1.ReasonUninstalling), patience: goneTimeout,
	}
}

// within carries out all steps. Once the time is over that the user gives the uninstall, it says what is left and is content with that.
func (u *uninstall) within(ctx context.Context, since time.Time) error {
	limit, err := uninstallLimit(u.instance)
	if err != nil {
		u.note = "; " + err.Error()
	}
	began := u.tried.by(u.instance)
	limited, cancel := ctx, context.CancelFunc(func() {})
	if limit > 0 {
		limited, cancel = context.WithDeadline(ctx, uninstallDeadline(since, began, limit))
	}
	defer cancel()
	err = u.run(limited)
	if err == nil || limited.Err() == nil || ctx.Err() != nil {
		return err
	}
	u.abandon(ctx, fmt.Sprintf("%s, as the annotation %s says,", limit, v1.UninstallTimeoutAnnotation))
	return nil
}

// read finds out what there is to do.
func (u *uninstall) read() error {
	owned, err := inventory.FromStatus(u.instance.Status.Inventory)
	if err != nil {
		return fmt.Errorf("reading status.inventory: %w", err)
	}
	u.objects = owned.Objects()
	u.definitions = namesOf(ofKind(u.objects, "CustomResourceDefinition"))
	u.goes, u.stays = divide(u.objects, endOf(u.instance))
	return nil
}

// run goes through the steps.
func (u *uninstall) run(ctx context.Context) error {
	if err := u.read(); err != nil {
		return err
	}
	if len(u.objects) == 0 {
		return nil
	}
	steps := u.steps()
	for i, step := range steps {
		u.position = fmt.Sprintf("Uninstalling Flux, %d of %d: ", i+1, len(steps))
		u.watched.Renew()
		if !u.again {
			u.say(ctx, step.doing)
		}
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.doing, err)
		}
	}
	u.event(u.instance, corev1.EventTypeNormal, v1.ReasonUninstalled, u.farewell())
	return nil
}

// steps are the way out. The controllers go first, so that nobody reacts to the rest; then Flux's objects are released from their finalizers,
// which keeps what they deployed when they go along with their definitions.
func (u *uninstall) steps() []step {
	stop := step{"stopping the controllers", u.stopAll}
	release := step{"releasing Flux objects from their finalizers", u.releaseAll}
	releaseHere := step{fmt.Sprintf("releasing Flux objects in namespace %q from their finalizers", u.dying), u.releaseDying}
	remove := []step{
		{fmt.Sprintf("deleting %d objects", len(u.goes)), u.deleteAll},
		{"waiting until everything is gone", u.await},
	}
	disown := step{fmt.Sprintf("letting go of %d objects that stay", len(u.stays)), u.disown}
	switch endOf(u.instance) {
	case v1.Orphan:
		if u.dying == "" {
			return []step{disown}
		}
		return []step{stop, disown, releaseHere}
	case v1.DeleteControllers:
		steps := append([]step{stop}, append(remove, disown)...)
		if u.dying == "" {
			return steps
		}
		return append(steps, releaseHere)
	default:
		return append([]step{stop, release}, remove...)
	}
}

func (u *uninstall) stopAll(ctx context.Context) error {
	if err := u.spareStrangers(ctx); err != nil {
		return err
	}
	return u.stop(ctx, ofKind(u.objects, "Deployment"))
}

// spareStrangers refuses to go on where a controller of somebody else runs on what would be removed: that of a former installation, over which only
// a part was ever applied. It would keep running without definitions, account and rights, and while their objects go it may remove what it
// deployed. In a namespace that is being deleted it ends with it.
func (u *uninstall) spareStrangers(ctx context.Context) error {
	if u.dying != "" {
		return nil
	}
	deployments, err := u.Applier.Standing(ctx, ofKind(u.objects, "Deployment"))
	if err != nil {
		return err
	}
	strangers := slices.DeleteFunc(deployments, func(s apply.Standing) bool { return s.Owned || s.Exempt })
	if len(strangers) == 0 {
		return nil
	}
	rest, err := u.Applier.Standing(ctx, without(u.goes, "Deployment"))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rest, func(s apply.Standing) bool { return s.Owned && !s.Exempt }) {
		return nil
	}
	names := make([]string, 0, len(strangers))
	for _, stranger := range strangers {
		names = append(names, stranger.Object.String())
	}
	return fmt.Errorf("%s: not installed by this instance, and would keep running without the definitions, accounts and rights that go: delete what is "+
		"named, or set spec.deletionPolicy: %s, which removes nothing", strings.Join(names, ", "), v1.Orphan)
}

// releaseAll releases what the controllers of the instance held. Objects of definitions that others own, which the inventory names as soon as an
// instance is about to take them over, are for the controllers of those to release.
func (u *uninstall) releaseAll(ctx context.Context) error {
	if err := u.release(ctx, metav1.NamespaceAll); err != nil || u.dying == "" {
		return err
	}
	return u.releaseDying(ctx)
}

// releaseDying is for objects whose definitions stay, in a namespace that goes: without a controller nobody else would release them.
func (u *uninstall) releaseDying(ctx context.Context) error {
	return u.release(ctx, u.dying)
}

func (u *uninstall) release(ctx context.Context, namespace string) error {
	released, err := u.Applier.ReleaseFinalizersIn(ctx, namespace, u.definitions, func(released int) {
		if released > 0 {
			u.count(ctx, fmt.Sprintf("releasing Flux objects from their finalizers, %d so far", released))
		}
	})
	if released > 0 {
		log.FromContext(ctx).Info("released Flux objects from their finalizers", "count", released)
	}
	return err
}

func (u *uninstall) deleteAll(ctx context.Context) error {
	var err error
	u.leaving, err = u.delete(ctx, u.goes)
	return err
}

// await waits until what was deleted is gone. While it waits it releases objects that came after the first time, and says what keeps the rest.
func (u *uninstall) await(ctx context.Context) error {
	for started := time.Now(); ; {
		err := u.awaitGone(ctx, u.leaving, lookEvery)
		remaining, late := errors.AsType[*apply.RemainingError](err)
		if !late || ctx.Err() != nil {
			return err
		}
		held, err := u.lookAtHeld(ctx)
		if err != nil {
			return errors.Join(remaining, err)
		}
		why := &leftError{remaining: remaining, held: held}
		if time.Since(started) >= u.patience {
			return why
		}
		if held.total > 0 {
			u.complain(ctx, why)
		} else {
			u.say(ctx, why.Error())
		}
	}
}

// lookAtHeld releases what has a finalizer of Flux since it was last looked at, and returns the objects that others hold.
func (u *uninstall) lookAtHeld(ctx context.Context) (held, error) {
	definitions := namesOf(ofKind(u.leaving, "CustomResourceDefinition"))
	if len(definitions) == 0 {
		return held{}, nil
	}
	if err := u.releaseAll(ctx); err != nil {
		return held{}, err
	}
	first, total, err := u.Applier.Held(ctx, definitions)
	return held{first, total}, err
}

func (u *uninstall) disown(ctx context.Context) error {
	if err := u.countLost(ctx); err != nil {
		return err
	}
	return u.Applier.Disown(ctx, u.stays)
}

// countLost counts the definitions that are to stay and cannot, as they were deleted under another policy before.
func (u *uninstall) countLost(ctx context.Context) error {
	if !u.begun {
		return nil
	}
	definitions := ofKind(u.stays, "CustomResourceDefinition")
	standing, err := u.Applier.Standing(ctx, definitions)
	u.lost = len(definitions) - len(standing)
	return err
}

// abandon tells what is left when the time is over, and which time that was.
func (u *uninstall) abandon(ctx context.Context, limit string) {
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	first, total, heldErr := u.Applier.Held(ctx, namesOf(ofKind(u.goes, "CustomResourceDefinition")))
	left := (&leftError{held: held{first, total}}).Error()
	// The namespace is there to stay.
	going := without(u.goes, "Namespace")
	if err := u.awaitGone(ctx, going, lastLook/5); err != nil || heldErr != nil {
		left = strings.TrimPrefix(errors.Join(err, heldErr).Error()+"; "+left, "; ")
	}
	message := fmt.Sprintf("Let go after %s with this left: %s", limit, cmp.Or(oneLine(left), "nothing of what was to go"))
	u.event(u.instance, corev1.EventTypeWarning, v1.ReasonUninstallFailed, message)
	log.FromContext(ctx).Info("gave an uninstall up", "after", limit, "left", left)
}

// say tells how far the uninstall is.
func (u *uninstall) say(ctx context.Context, message string) {
	u.watched.Renew()
	u.told = time.Now()
	progress(u.instance, v1.ReasonUninstalling, truncate(u.position+oneLine(message)+u.note, maxConditionMessage))
	_ = u.status.save(ctx, u.instance) // progress that is not told holds nothing up
}

// count is say for what changes often.
func (u *uninstall) count(ctx context.Context, message string) {
	u.watched.Renew()
	if time.Since(u.told) >= progressEvery {
		u.say(ctx, message)
	}
}

// complain says what keeps the uninstall from going on, and tells it by an event when it is news.
func (u *uninstall) complain(ctx context.Context, err error) {
	u.watched.Renew()
	if saveErr := u.report(ctx, err); saveErr != nil {
		log.FromContext(ctx).Error(saveErr, "saying what keeps an uninstall")
	}
}

// report writes a failure down.
func (u *uninstall) report(ctx context.Context, err error) error {
	before := readyMessage(u.instance)
	f := asFailure(retry(v1.ReasonUninstallFailed, errors.New(oneLine(err.Error())+u.note)))
	fail(u.instance, f)
	if before != readyMessage(u.instance) {
		log.FromContext(ctx).Info("an uninstall does not get on", "because", f.Error())
		u.event(u.instance, corev1.EventTypeWarning, f.reason, f.Error())
	}
	return u.status.save(ctx, u.instance)
}

// farewell says how it ended.
func (u *uninstall) farewell() string {
	running := len(ofKind(u.goes, "Deployment")) - len(ofKind(u.leaving, "Deployment"))
	switch policy := endOf(u.instance); {
	case policy == v1.Orphan && u.begun:
		return fmt.Sprintf("Let go of what is there of %d objects: it keeps running without the operator; what was removed before is gone", len(u.stays))
	case policy == v1.Orphan:
		return fmt.Sprintf("Let go of %d objects and removed nothing: Flux keeps running without the operator", len(u.stays))
	case policy == v1.DeleteControllers && u.lost > 0:
		return fmt.Sprintf("Flux controllers removed: %d objects; of the definitions %d were removed before and are gone or going with all of their custom resources; "+
			"the rest, and what Flux deployed, stay", len(u.leaving), u.lost)
	case running > 0:
		return fmt.Sprintf("Let go of %d objects that the instance has not taken over, or that are marked to stay, %d controllers among them: they keep running; the others are gone",
			len(u.goes)-len(u.leaving), running)
	case policy == v1.DeleteControllers:
		return fmt.Sprintf("Flux controllers removed: %d objects; the definitions, all Flux custom resources, and what Flux deployed stay", len(u.leaving))
	default:
		return fmt.Sprintf("Flux uninstalled: %d objects removed; what Flux deployed keeps running", len(u.leaving))
	}
}
