// Package definitions keeps an API server of tests from leaving definitions behind that it was told to remove.
package definitions

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pause is how often definitions are looked at that do not go.
const pause = 2 * time.Second

// Nudge has an API server try again, until ctx ends, to remove the definitions that it failed to remove.
//
// Removing a definition begins with a list of its objects. Where nobody asked for them before, their storage is set up by that very list, which then
// fails. The API server tries again five milliseconds later. When it has not seen by then what it wrote about its failure itself, which is likely
// on a busy machine, it takes that for a change by somebody else, and waits for the news of it; but news of its own failures is nothing that it acts
// upon. So the definition stays until all of them are looked at again, which is every five minutes. Only tests remove definitions that quickly after
// they made them. A change of the definition has it look again at once.
func Nudge(ctx context.Context, config *rest.Config, say func(format string, args ...any)) error {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	go wait.UntilWithContext(ctx, func(ctx context.Context) { nudge(ctx, direct, say) }, pause)
	return nil
}

// nudge changes the definitions that the API server failed to remove.
func nudge(ctx context.Context, direct client.Client, say func(format string, args ...any)) {
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := direct.List(ctx, list); err != nil {
		return // the next time, or the tests have ended
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"test/nudged":%q}}}`, time.Now().Format(time.RFC3339Nano))
	for i := range list.Items {
		if definition := &list.Items[i]; removalFailed(definition) {
			err := direct.Patch(ctx, definition, client.RawPatch(types.MergePatchType, patch))
			say("had the API server try again to remove %s: %v\n", definition.Name, err)
		}
	}
}

// removalFailed tells whether the API server gave up to remove a definition. That it waits for finalizers of objects is no failure.
func removalFailed(definition *apiextensionsv1.CustomResourceDefinition) bool {
	for _, condition := range definition.Status.Conditions {
		if condition.Type == apiextensionsv1.Terminating && (condition.Reason == "InstanceDeletionFailed" || condition.Reason == "InstanceDeletionCheck") {
			return definition.DeletionTimestamp != nil
		}
	}
	return false
}
