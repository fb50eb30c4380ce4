// Command bundle judges bundles, scores them, and makes and judges the catalog that offers them.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

// catalogFile is the one file of a catalog.
const catalogFile = "catalog.yaml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	err := command().ExecuteContext(ctx)
	cancel()
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "bundle", Short: "Judge bundles and catalogs", SilenceUsage: true}
	root.AddCommand(validateCommand(), scorecardCommand(), imageCommand(), catalogCommand(), graphCommand(), preflightCommand())
	return root
}

func validateCommand() *cobra.Command {
	var sdk, kubernetes, previous string
	cmd := &cobra.Command{
		Use: "validate DIR", Short: "Run the validators of operator-sdk and the checks of the catalogs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := bundle.Validate(cmd.Context(), sdk, args[0], kubernetes)
			if err != nil {
				return err
			}
			wrong := report(cmd.OutOrStdout(), found)
			more, err := check(args[0], previous)
			if err != nil {
				return err
			}
			return refuse(cmd.OutOrStdout(), append(wrong, more...))
		},
	}
	cmd.Flags().StringVar(&sdk, "operator-sdk", "operator-sdk", "path of operator-sdk")
	cmd.Flags().StringVar(&kubernetes, "kubernetes", "", "newest minor version of Kubernetes it is for")
	cmd.Flags().StringVar(&previous, "previous", "", "folder with the bundle of the version before, whose objects the new definitions must take")
	cobra.CheckErr(cmd.MarkFlagRequired("kubernetes"))
	return cmd
}

// report prints what is meant and returns the rest.
func report(out io.Writer, found []bundle.Finding) []string {
	var wrong []string
	for _, finding := range found {
		why, meant := finding.Explained()
		if !meant {
			wrong = append(wrong, finding.Type+": "+finding.Message)
			continue
		}
		fmt.Fprintf(out, "meant: %s (%s)\n", finding.Message, why)
	}
	return wrong
}

func check(dir, previous string) ([]string, error) {
	b, err := bundle.Load(dir)
	if err != nil {
		return nil, err
	}
	wrong := bundle.Check(b)
	if previous == "" {
		return wrong, nil
	}
	before, err := bundle.Load(previous)
	if err != nil {
		return nil, err
	}
	return append(wrong, bundle.Compatible(before, b)...), nil
}

func refuse(out io.Writer, wrong []string) error {
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	_, err := fmt.Fprintln(out, "nothing is wrong")
	return err
}

func scorecardCommand() *cobra.Command {
	var program string
	cmd := &cobra.Command{
		Use: "scorecard DIR", Short: "Run the tests of operator-sdk scorecard without a cluster", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			scores, err := bundle.Scorecard(cmd.Context(), program, args[0])
			if err != nil {
				return err
			}
			var wrong []string
			for _, score := range scores {
				fmt.Fprintln(cmd.OutOrStdout(), score.State, score.Name, strings.Join(score.Suggestions, "; "))
				if score.State != "pass" {
					wrong = append(wrong, score.Name+": "+strings.Join(score.Errors, "; "))
				}
			}
			return refuse(cmd.OutOrStdout(), wrong)
		},
	}
	cmd.Flags().StringVar(&program, "scorecard-test", "scorecard-test", "path of the program that holds the tests")
	return cmd
}

func catalogCommand() *cobra.Command {
	var out string
	r := bundle.Renderer{}
	cmd := &cobra.Command{
		Use: "catalog TEMPLATE", Short: "Make a file-based catalog", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rendered, err := r.Render(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("making the folder of the catalog: %w", err)
			}
			if err := os.WriteFile(filepath.Join(out, catalogFile), rendered, 0o644); err != nil {
				return fmt.Errorf("writing the catalog: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&r.OPM, "opm", "opm", "path of opm")
	cmd.Flags().StringToStringVar(&r.Bundles, "bundle", nil, "IMAGE=FOLDER of a bundle that the template names; may be repeated")
	cmd.Flags().StringVar(&r.Released, "released", "", "folder of the bundles that were published before, each in a folder named after its version")
	cmd.Flags().StringVar(&out, "out", "dist/catalog/flux-operator", "folder to write")
	return cmd
}

func imageCommand() *cobra.Command {
	var ref, out string
	cmd := &cobra.Command{
		Use: "image DIR", Short: "Make the image of a bundle as an OCI layout, the one that a catalog of it names, and print its reference", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := bundle.Image(args[0])
			if err != nil {
				return err
			}
			digest, err := made.Digest()
			if err != nil {
				return fmt.Errorf("reading the digest of the image of the bundle: %w", err)
			}
			if err := image.SaveOCILayout(made, ref, out); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s@%s\n", ref, digest)
			return err
		},
	}
	cmd.Flags().StringVar(&ref, "ref", "", "full name of the image: host/path:tag")
	cmd.Flags().StringVar(&out, "out", "dist/bundle-image", "folder to write")
	cobra.CheckErr(cmd.MarkFlagRequired("ref"))
	return cmd
}

func graphCommand() *cobra.Command {
	var opm string
	cmd := &cobra.Command{
		Use: "catalog-validate DIR", Short: "Judge a file-based catalog: every version reaches the newest", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := bundle.ValidateCatalog(cmd.Context(), opm, args[0]); err != nil {
				return err
			}
			content, err := os.ReadFile(filepath.Join(args[0], catalogFile))
			if err != nil {
				return fmt.Errorf("reading the catalog: %w", err)
			}
			catalog, err := bundle.ReadCatalog(bytes.NewReader(content))
			if err != nil {
				return err
			}
			return refuse(cmd.OutOrStdout(), catalog.Check())
		},
	}
	cmd.Flags().StringVar(&opm, "opm", "opm", "path of opm")
	return cmd
}

func preflightCommand() *cobra.Command {
	var program, layout, dir string
	cmd := &cobra.Command{
		Use: "preflight", Short: "Run the checks of openshift-preflight on an image and a bundle, without a cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verdicts, err := bundle.Preflight(cmd.Context(), program, layout, dir)
			if err != nil {
				return err
			}
			var wrong []string
			for _, verdict := range verdicts {
				why, unanswered := verdict.Unanswered()
				if unanswered {
					fmt.Fprintf(cmd.OutOrStdout(), "not judged: %s (%s)\n", verdict.Check, why)
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), verdict.Outcome, verdict.Check)
				if verdict.Outcome != bundle.Passed {
					wrong = append(wrong, verdict.Check+": "+string(verdict.Outcome))
				}
			}
			return refuse(cmd.OutOrStdout(), wrong)
		},
	}
	cmd.Flags().StringVar(&program, "preflight", "preflight", "path of preflight")
	cmd.Flags().StringVar(&layout, "image", "dist/image", "folder with the OCI layout of the image")
	cmd.Flags().StringVar(&dir, "bundle", "dist/bundle", "folder with the bundle")
	return cmd
}
